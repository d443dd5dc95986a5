"""Run the tokenizer service alone: `python -m weir_tokenizer`."""

from weir_kit.host import main
from weir_tokenizer.service import SPEC

if __name__ == "__main__":
    main(SPEC)
