"""`python -m weir_gateway`: the gateway in a process of its own."""

from weir_gateway.service import SPEC
from weir_kit.host import main

if __name__ == "__main__":
    main(SPEC)
