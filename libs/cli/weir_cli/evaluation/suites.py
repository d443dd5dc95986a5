"""Which examples to ask: a file, or a suite of a known name."""

import random
from dataclasses import replace
from pathlib import Path

from weir_cli.evaluation.built_in import BUILT_IN, windows
from weir_cli.evaluation.examples import Suite
from weir_cli.evaluation.lines import read_lines
from weir_cli.failure import Failure

DATA_VARIABLE = "WEIR_EVAL_DATA"
CHECKOUT_DATA = Path("../shared/assets")  # seen from a checkout of Weir


def open_suite(name: str, data: Path) -> Suite:
    """A suite by its name, or by its file: `.jsonl` of examples, `.txt` for perplexity.

    `data` is the folder of the known suites. Raises `Failure` if there is no such suite, and for
    what cannot be read.
    """
    if name in BUILT_IN:
        return _built_in(name, data)
    file = Path(name).expanduser()
    if file.suffix not in (".jsonl", ".txt") or not file.is_file():
        raise Failure(
            f"--suite: {name!r} is no suite: give one of {', '.join(BUILT_IN)}, or a file, .jsonl "
            "of examples or .txt for perplexity"
        )
    if file.suffix == ".txt":
        try:
            examples = tuple(windows(file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"--suite: {file} cannot be read: {error}") from error
        if not examples:
            raise Failure(f"--suite: {file} has no text")
        return Suite(file.name, examples)
    return Suite(file.name, read_lines(file))


def sample(suite: Suite, limit: int | None, seed: int) -> Suite:
    """At most `limit` of the examples, chosen by seed, in their order."""
    if limit is None or limit >= len(suite.examples):
        return suite
    chosen = random.Random(seed).sample(range(len(suite.examples)), limit)  # noqa: S311
    return replace(suite, examples=tuple(suite.examples[place] for place in sorted(chosen)))


def _built_in(name: str, data: Path) -> Suite:
    try:
        examples = tuple(BUILT_IN[name](data))
        if not examples:
            raise ValueError("it is empty")
        return Suite(name, examples)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise Failure(
            f"--suite {name}: its data cannot be read in {data} ({error}); name the folder with "
            f"--data or {DATA_VARIABLE}"
        ) from error
