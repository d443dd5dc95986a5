"""`python -m weir_inference`: run the inference service alone."""

from weir_inference.service import SPEC
from weir_kit.host import main

if __name__ == "__main__":
    main(SPEC)
