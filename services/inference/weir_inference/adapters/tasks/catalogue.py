"""The items of a recommender: JSON lines of `id`, `title` and what else is known of them."""

import json
from pathlib import Path

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder
from weir_inference.core.tasks.recommend import Catalogue

ITEMS_MAX = 1 << 20


def read_catalogue(file: Path) -> Catalogue:
    """The items in the order of the model's scores. Raises `BadModelFolder` naming the line."""
    ids: list[str] = []
    titles: list[str] = []
    try:
        with file.open(encoding="utf-8") as lines:
            for n, line in enumerate(lines, 1):
                item = json.loads(line)
                if not isinstance(item, dict) or not isinstance(item.get("id"), str):
                    raise BadModelFolder(
                        f"line {n}: must be a mapping with an id of text", file.name
                    )
                if n > ITEMS_MAX:
                    raise BadModelFolder(f"holds more than {ITEMS_MAX} items", file.name)
                ids.append(item["id"])
                titles.append(str(item.get("title", "")))
    except (OSError, ValueError, RecursionError) as error:
        raise BadModelFolder("is not readable as JSON lines in UTF-8", file.name) from error
    if not ids or len(set(ids)) != len(ids):
        raise BadModelFolder("must hold items whose ids are all different", file.name)
    return Catalogue(ids, titles)
