"""`python -m weir_policy`: the policy service in a process of its own."""

from weir_kit.host import main
from weir_policy.service import SPEC

if __name__ == "__main__":
    main(SPEC)
