"""weir-sentiment tells praise from complaint, whatever its batch looks like."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

from weir_inference.training.encoder import Encoder
from weir_inference.training.fit import Recipe
from weir_inference.training.lexicon import Lexicon
from weir_inference.training.sentences import Sentence, read_sentences, split_of
from weir_inference.training.sentiment import (
    encode,
    learn_from_labels,
    learn_from_lexicon,
    train_tokenizer,
)

FOLDER = Path(__file__).parents[2] / "models/weir-sentiment/1"
LEXICON = Lexicon({"great": 3.0, "awful": -3.0}, ("awful", "great"))
SENTENCES = [
    Sentence("this film is great", "imdb", 1),
    Sentence("this film is awful", "imdb", 0),
]


def logits_of(model: InferenceSession, texts: list[str], padding: int = 0) -> NDArray[np.float32]:
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    ids, mask = (np.pad(t.numpy(), ((0, 0), (0, padding))) for t in encode(tokenizer, texts))
    return np.asarray(model.run(None, {"input_ids": ids, "attention_mask": mask})[0])


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("A wonderful film, I loved every minute of it!", 1),
        ("The phone is terrible and the battery is even worse.", 0),
        ("Great food, friendly staff, highly recommended.", 1),
        ("The food was not good and the service was slow.", 0),
    ],
)
def test_plain_praise_and_complaint(
    session: Callable[..., InferenceSession], text: str, label: int
) -> None:
    assert logits_of(session("weir-sentiment"), [text]).argmax() == label


def test_padding_and_company_change_nothing(session: Callable[..., InferenceSession]) -> None:
    model = session("weir-sentiment")
    texts = ["Good.", "I would not buy this again, it broke after two days of gentle use."]
    alone = np.concatenate([logits_of(model, [text]) for text in texts])
    assert np.abs(logits_of(model, texts, padding=40) - alone).max() <= 1e-5


def test_the_score_of_the_card_holds_on_the_held_out_part(
    session: Callable[..., InferenceSession], assets: Path
) -> None:
    held_out = split_of(read_sentences(assets / "eval/sentiment")).held_out
    found = logits_of(session("weir-sentiment"), [one.text for one in held_out]).argmax(1)
    share = float(np.mean([f == one.label for f, one in zip(found, held_out, strict=True)]))
    told = json.loads((FOLDER / "scores.json").read_text())["held-out sentences"]["mean"]
    assert share == pytest.approx(told, abs=0.002)


def test_no_sentence_is_in_two_parts(assets: Path) -> None:
    split = split_of(read_sentences(assets / "eval/sentiment"))
    parts = [
        {"".join(c for c in one.text.lower() if c.isalnum()) for one in part}
        for part in (split.learn, split.choose, split.held_out)
    ]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert {one.label for one in split.held_out} == {0, 1}


def test_both_lessons_lower_the_loss() -> None:
    torch.manual_seed(0)
    texts = [one.text for one in SENTENCES]
    tokenizer = train_tokenizer([*texts, "great", "awful"], 60)
    recipe = Recipe(n_steps=30, rows=16, lr=1e-2)
    weak_model, model = (Encoder(tokenizer.get_vocab_size(), width=16) for _ in range(2))
    weak = learn_from_lexicon(weak_model, tokenizer, LEXICON, texts, recipe)
    assert min(weak[-5:]) < weak[0]
    labelled = learn_from_labels(model, tokenizer, LEXICON, SENTENCES, recipe)
    assert labelled[-1] < labelled[0]


def test_the_rule_turns_words_round_and_weighs_but() -> None:
    assert LEXICON.pleasure("a great film") > 0.7
    assert LEXICON.pleasure("not a great film") < 0.5
    assert LEXICON.pleasure("great cast but an awful film") < 0.5
    assert LEXICON.pleasure("a film") == 0.5
