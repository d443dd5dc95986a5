"""What `weir infer` sends a model: what its task takes, made of the command's arguments."""

import sys
from dataclasses import dataclass
from typing import Any

from weir import User
from weir_cli.failure import Failure

TEXTS = ("text-classification", "token-classification", "language-id", "embedding")
IMAGES = ("image-classification", "object-detection", "ocr")
BLOBS = ("file-type",)
RERANK = "rerank"
RECOMMENDATION = "recommendation"
ELSEWHERE = {
    "generation": "it generates text: weir chat --model {model}",
    "tensors": "it takes tensors, over the Open Inference Protocol alone",
}
STDIN_ITEMS_MAX = 1024  # as many as a call may have


@dataclass(frozen=True)
class Given:
    """The command's arguments; None is what was not given."""

    inputs: list[str]
    query: str | None = None
    history: str | None = None
    excluded: str | None = None


def items_of(model: str, task: str, given: Given) -> tuple[dict[str, Any], list[str]]:
    """The items by the SDK's name of their kind, and what to call each.

    Raises `Failure` for a task that this command is not for, and where arguments do not fit it.
    """
    if task in ELSEWHERE:
        raise Failure(f"{model}: {ELSEWHERE[task].format(model=model)}")
    _check_fit(model, task, given)
    if task == RECOMMENDATION:
        return {"users": User(_ids(given.history), _ids(given.excluded))}, [given.history or ""]
    inputs = _lines() if given.inputs == ["-"] else given.inputs
    if not inputs:
        raise Failure(f"{model} does {task}: give {_wanted(task)}")
    if given.query is not None:
        return {"query": given.query, "documents": inputs}, inputs
    if task in IMAGES:
        return {"images": inputs}, inputs
    if task in BLOBS:
        return {"blobs": inputs}, inputs
    return {"texts": inputs}, inputs


def _check_fit(model: str, task: str, given: Given) -> None:
    """What each argument is for."""
    if task not in (*TEXTS, *IMAGES, *BLOBS, RERANK, RECOMMENDATION):
        raise Failure(f"{model}'s task is {task!r}, which this version of weir does not know")
    if task == RECOMMENDATION and given.inputs:
        raise Failure(f"{model} recommends: give no INPUT, but --history with ids, as 1,2,3")
    if task != RECOMMENDATION and (given.history, given.excluded) != (None, None):
        raise Failure(f"--history and --exclude are for recommenders; {model} does {task}")
    if task == RERANK and given.query is None:
        raise Failure(f"{model} ranks documents: give --query, and the documents as INPUT")
    # An embedding model ranks too, by the likeness of embeddings.
    if task not in (RERANK, "embedding") and given.query is not None:
        raise Failure(f"--query is for rerankers and embedding models; {model} does {task}")
    if task in (*IMAGES, *BLOBS) and "-" in given.inputs:
        raise Failure(f"- is for texts; {model} does {task}: give {_wanted(task)}")


def _wanted(task: str) -> str:
    if task in IMAGES:
        return "pictures, by their paths"
    if task in BLOBS:
        return "files, by their paths"
    return "texts, or - for one a line from stdin"


def _lines() -> list[str]:
    """The lines of stdin that are not empty."""
    lines: list[str] = []
    for line in sys.stdin:
        text = line.rstrip("\r\n")
        if not text:
            continue
        if len(lines) == STDIN_ITEMS_MAX:
            raise Failure(f"stdin has more than {STDIN_ITEMS_MAX} lines: split them over calls")
        lines.append(text)
    return lines


def _ids(listed: str | None) -> list[str]:
    return [one.strip() for one in (listed or "").split(",") if one.strip()]
