"""Whole pipelines over the models that Weir ships."""

import gzip
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from weir_inference.adapters.repository.folder import ModelFiles
from weir_inference.core.model_spec import model_spec
from weir_inference.core.prediction import Pictures, Texts, User, Users

MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.fixture
def shipped(serve_files: Callable[[ModelFiles], Any]) -> Callable[[str], Any]:
    """`shipped("weir-digits")` → its task over its model."""

    def serve(name: str) -> Any:
        folder = MODELS / name / "1"
        if not folder.is_dir():
            pytest.skip(f"{name} is not here")
        raw = yaml.safe_load((folder / "model.yaml").read_text())
        return serve_files(ModelFiles(folder, model_spec(raw), ""))

    return serve


async def best(served: Any, asked: Any) -> list[str]:
    return [one.classes[0].label for one in await served.predict(asked, top_k=1)]


async def test_languages_are_told(shipped: Callable[[str], Any]) -> None:
    texts = {
        "The committee will meet again on Thursday to settle the budget.": "en",
        "Guten Morgen, wie geht es Ihnen heute an diesem schönen Tag?": "de",
        "Mañana por la tarde iremos a la playa con los niños.": "es",
        "今日は天気がいいので、公園を散歩しましょう。": "ja",
    }
    assert await best(shipped("weir-language"), Texts(tuple(texts))) == list(texts.values())


async def test_feelings_are_told(shipped: Callable[[str], Any]) -> None:
    texts = {
        "A wonderful film, I loved every minute of it.": "positive",
        "Terrible. It broke after one day and I want my money back.": "negative",
    }
    assert await best(shipped("weir-sentiment"), Texts(tuple(texts))) == list(texts.values())


async def test_digits_are_read_from_pictures(shipped: Callable[[str], Any], assets: Path) -> None:
    folder = assets / "eval/mnist"
    pixels = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    pictures = []
    for one in np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28)[:300]:
        file = BytesIO()
        Image.fromarray(one).save(file, "PNG")
        pictures.append(file.getvalue())
    told = await best(shipped("weir-digits"), Pictures(tuple(pictures)))
    n_right = sum(a == str(b) for a, b in zip(told, labels, strict=False))
    assert n_right >= 270  # the model never saw MNIST


async def test_films_are_recommended_with_their_reasons(shipped: Callable[[str], Any]) -> None:
    served = shipped("weir-movies")
    by_title = dict(zip(served.task.catalogue.titles, served.task.catalogue.ids, strict=True))
    history = tuple(by_title[title] for title in ("Toy Story", "Aladdin", "Lion King, The"))
    excluded = (by_title["Shrek"],)
    fan, anybody = await served.predict(Users((User(history, excluded), User())), top_k=20)
    assert len({one.id for one in fan.items}) == len(anybody.items) == 20
    assert not {one.id for one in fan.items} & {*history, *excluded}
    scores = [one.score for one in fan.items]
    assert scores == sorted(scores, reverse=True)
    assert all(sorted(one.because) == sorted(history) for one in fan.items)
    assert all(one.because == () for one in anybody.items)
    # Not what everybody likes: other animated films come first.
    assert [one.id for one in fan.items] != [one.id for one in anybody.items]
