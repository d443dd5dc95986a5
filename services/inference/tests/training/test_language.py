"""weir-language knows languages by their bytes, whatever its batch looks like."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from weir_inference.training.fit import Recipe
from weir_inference.training.language import ByteGru, encode, fit_languages, mgsm
from weir_inference.training.messages import LANGUAGES, Message, cleaned, translations
from weir_inference.training.trigrams import Trigrams

FOLDER = Path(__file__).parents[2] / "models/weir-language/1"


def logits_of(model: InferenceSession, texts: list[str], padding: int = 0) -> NDArray[np.float32]:
    ids, mask = (np.pad(t.numpy(), ((0, 0), (0, padding))) for t in encode(texts))
    return np.asarray(model.run(None, {"input_ids": ids, "attention_mask": mask})[0])


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where is the nearest station, please?", "en"),
        ("Wo ist bitte der nächste Bahnhof?", "de"),
        ("Où se trouve la gare la plus proche ?", "fr"),
        ("¿Dónde está la estación más cercana?", "es"),
        ("Где находится ближайший вокзал?", "ru"),
        ("最近的车站在哪里？", "zh"),
        ("一番近い駅はどこですか。", "ja"),
        ("가장 가까운 역이 어디에 있습니까?", "ko"),
        ("أين تقع أقرب محطة؟", "ar"),
        ("Πού είναι ο κοντινότερος σταθμός;", "el"),
    ],
)
def test_a_question_in_many_languages(
    session: Callable[..., InferenceSession], text: str, language: str
) -> None:
    best = logits_of(session("weir-language"), [text]).argmax()
    assert (FOLDER / "labels.txt").read_text().splitlines()[best] == language


def test_padding_and_company_change_nothing(session: Callable[..., InferenceSession]) -> None:
    model = session("weir-language")
    texts = ["Hej!", "Det finns inget dåligt väder, bara dåliga kläder."]
    alone = np.concatenate([logits_of(model, [text]) for text in texts])
    assert np.abs(logits_of(model, texts, padding=60) - alone).max() <= 1e-5


def test_the_score_of_the_card_holds_on_a_part_of_mgsm(
    session: Callable[..., InferenceSession], assets: Path
) -> None:
    model = session("weir-language")
    messages = mgsm(assets / "prompts")[::25]
    right = [LANGUAGES[logits_of(model, [m.text]).argmax()] == m.language for m in messages]
    told = json.loads((FOLDER / "scores.json").read_text())["MGSM problems (5 languages)"]["mean"]
    assert abs(sum(right) / len(right) - told) < 0.06


def test_the_loss_falls() -> None:
    torch.manual_seed(0)
    learn = [Message("der die das und nicht", "de"), Message("что это не так", "ru")]
    losses = fit_languages(
        ByteGru(len(LANGUAGES), width=16), learn, Recipe(n_steps=15, rows=16, lr=2e-2)
    )
    assert losses[-1] < losses[0] / 2


def test_trigrams_tell_what_they_counted() -> None:
    learn = [Message("der die das und nicht", "de"), Message("the and not this", "en")]
    trigrams = Trigrams(learn, ["de", "en"])
    assert [trigrams.language(text) for text in ("nicht das", "this and")] == [0, 1]


@given(st.lists(st.text(), min_size=1, max_size=5), st.integers(1, 40))
def test_ids_are_the_bytes_of_every_text_and_the_mask_tells_them_from_padding(
    texts: list[str], n_bytes: int
) -> None:
    ids, mask = encode(texts, n_bytes)
    rows = [bytes((row[there > 0] - 1).tolist()) for row, there in zip(ids, mask, strict=True)]
    assert rows == [text.encode()[:n_bytes] for text in texts]
    assert not ids[mask == 0].any()


def test_markup_and_values_are_cleaned_away() -> None:
    assert cleaned("Hello <b>%(name)s</b>,\n{count} new&nbsp;mails") == "Hello , new mails"


def test_a_catalogue_gives_translations_and_their_originals() -> None:
    messages = {
        "": "Content-Type: text/plain; charset=UTF-8\n",
        "Delete <b>%(name)s</b> from the list": "<b>%(name)s</b> aus der Liste löschen",
        "No": "Nein",
        "A name that stays": "A name that stays",
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        package.writestr("app/locale/de/LC_MESSAGES/django.mo", catalogue(messages))
        package.writestr("app/locale/xx/LC_MESSAGES/django.mo", catalogue(messages))
        assert [message for _, message in translations(package)] == [
            Message("aus der Liste löschen", "de"),
            Message("Delete from the list", "en"),
        ]


def catalogue(messages: dict[str, str]) -> bytes:
    """A GNU .mo file: a header, the places of originals and translations, the texts."""
    originals = [text.encode() for text in sorted(messages)]
    translated = [messages[text].encode() for text in sorted(messages)]
    n, at = len(messages), 28 + 16 * len(messages)
    places, texts = b"", b""
    for text in [*originals, *translated]:
        places += struct.pack("<2I", len(text), at + len(texts))
        texts += text + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, n, 28, 28 + 8 * n, 0, 0) + places + texts
