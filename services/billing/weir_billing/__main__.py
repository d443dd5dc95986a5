"""Run the billing service alone: `python -m weir_billing`."""

from weir_billing.service import SPEC
from weir_kit.host import main

if __name__ == "__main__":
    main(SPEC)
