"""`weir-language`: a GRU over UTF-8 bytes that tells in which of 30 languages a text is."""

import importlib
import importlib.util
import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from weir_inference.training.export import Shipped, assert_same, export_onnx, ship
from weir_inference.training.fit import Recipe, fit
from weir_inference.training.messages import (
    LANGUAGES,
    Message,
    example_sentences,
    plain,
    read_messages,
)
from weir_inference.training.scores import Score, accuracy
from weir_inference.training.trigrams import Trigrams

NAME = "weir-language"
SEED = 17
MAX_BYTES = 256
BUCKETS = 16_384  # of trigrams of bytes
RECIPE = Recipe(n_steps=3600, rows=64, lr=4e-3, average_decay=0.99)
# Of a batch, in bytes: short batches are cheap, and short texts are what people send.
LENGTHS = (24, 48, 64, 96, 128)
MGSM = ("en", "es", "ja", "ru", "zh")


class ByteGru(nn.Module):
    """Logits [batch, languages] of bytes and mask, both int64 [batch, bytes]; id 0 is padding.

    The GRU reads every byte together with the three bytes that end there, by their hash. What is
    told of a text is the mean and the maximum of its states and the mean of what it read; padding
    at the right changes nothing.
    """

    def __init__(self, n_languages: int, width: int = 128) -> None:
        super().__init__()
        self.bytes = nn.Embedding(257, 32)
        self.trigrams = nn.Embedding(BUCKETS, 48)
        self.gru = nn.GRU(80, width, batch_first=True)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(2 * width + 80, n_languages)
        nn.init.normal_(self.trigrams.weight, std=0.1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        # Capitals of ASCII are read as small letters; an id is its byte and 1.
        capital = (input_ids > ord("A")) & (input_ids <= ord("Z") + 1)
        ids = input_ids + 32 * capital.long()
        before, earlier = F.pad(ids, (1, 0))[:, :-1], F.pad(ids, (2, 0))[:, :-2]
        trigrams = (ids * 65_599 + before * 2_053 + earlier) % BUCKETS
        read = torch.cat((self.bytes(ids), self.trigrams(trigrams)), 2)
        states, _ = self.gru(read)
        there = attention_mask[:, :, None].float()
        n_bytes = there.sum(1).clamp_min(1.0)
        most = (states * there + (there - 1.0) * 2.0).amax(1)  # states are from -1 to 1
        told = torch.cat(
            ((states * there).sum(1) / n_bytes, most, (read * there).sum(1) / n_bytes), 1
        )
        return self.head(self.drop(told))  # type: ignore[no-any-return]


def train(assets: Path, out: Path) -> None:
    """Train, score and write the folder of the model."""
    torch.manual_seed(SEED)
    started_s = time.monotonic()
    learn, held_out = read_messages()
    model = ByteGru(len(LANGUAGES))
    fit_languages(model, learn, RECIPE)
    seconds = time.monotonic() - started_s
    ids, mask = encode([message.text for message in held_out[:3]])
    sizes = {0: "batch", 1: "bytes"}
    axes = {"input_ids": sizes, "attention_mask": sizes, "logits": {0: "batch"}}
    examples = {"input_ids": ids, "attention_mask": mask}
    export_onnx(model, examples, axes, out / "model.onnx")
    ids, mask = encode([message.text * 20 for message in held_out[:5]])
    assert_same(model, out / "model.onnx", {"input_ids": ids, "attention_mask": mask})
    found = predict(model, held_out)
    card = {
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "steps": f"{RECIPE.n_steps:,}",
        "rows": str(RECIPE.rows),
        "lr": str(RECIPE.lr),
        "seed": str(SEED),
        "minutes": f"{seconds / 60:.0f}",
        "n_learn": f"{len(learn):,}",
        "n_held_out": f"{len(held_out):,}",
        "languages": " ".join(LANGUAGES),
        "confused": confused(held_out, found),
    }
    scores = all_scores(model, learn, held_out, assets)
    preprocess: dict[str, object] = {"max_tokens": MAX_BYTES}
    ship(
        out,
        Shipped(NAME, "language-id", preprocess, scores, card, LANGUAGES, tokenizer="bytes"),
    )


def fit_languages(model: nn.Module, learn: Sequence[Message], recipe: Recipe) -> list[float]:
    """Train on pieces of messages, every language as often as every other; returns the losses."""
    chance = random.Random(SEED)  # noqa: S311
    of = {name: [m.text for m in learn if m.language == name] for name in LANGUAGES}
    spoken = [name for name in LANGUAGES if of[name]]

    def loss_of_step(step: int) -> Tensor:
        del step
        n_bytes = chance.choice(LENGTHS)
        names = [chance.choice(spoken) for _ in range(recipe.rows)]
        texts = [piece(of[name], n_bytes, chance) for name in names]
        labels = torch.tensor([LANGUAGES.index(name) for name in names])
        return F.cross_entropy(model(*encode(texts, n_bytes)), labels, label_smoothing=0.02)

    return fit(model, loss_of_step, recipe)


def piece(texts: Sequence[str], n_bytes: int, chance: random.Random) -> str:
    """About as many bytes of one text or of several in a row, some in other letters' case."""
    text = chance.choice(texts)
    while len(text.encode()) < n_bytes and chance.random() < 0.7:
        text += " " + chance.choice(texts)
    words = text.split(" ")
    start = chance.randrange(len(words)) if chance.random() < 0.5 else 0
    rest = " ".join(words[start:])
    text = rest if len(rest.encode()) >= min(n_bytes, 12) else text
    case = chance.random()
    return text.lower() if case < 0.3 else text.upper() if case < 0.35 else text


def encode(texts: Sequence[str], n_bytes: int = MAX_BYTES) -> tuple[Tensor, Tensor]:
    """Ids (byte + 1) and mask, int64 [texts, bytes], cut at `n_bytes`, padded to the longest."""
    rows = [torch.tensor(list(text.encode()[:n_bytes]), dtype=torch.int64) + 1 for text in texts]
    ids = pad_sequence(rows, batch_first=True)
    return ids, (ids > 0).long()


@torch.inference_mode()
def predict(model: nn.Module, messages: Sequence[Message]) -> list[int]:
    """The likeliest language of each, as an index of LANGUAGES."""
    order = sorted(range(len(messages)), key=lambda i: len(messages[i].text.encode()))
    found = [0] * len(messages)
    for at in range(0, len(order), RECIPE.rows):
        rows = order[at : at + RECIPE.rows]
        logits = model(*encode([messages[i].text for i in rows]))
        for i, best in zip(rows, logits.argmax(1).tolist(), strict=True):
            found[i] = best
    return found


def all_scores(
    model: nn.Module, learn: Sequence[Message], held_out: Sequence[Message], assets: Path
) -> dict[str, Score]:
    """Of the model and of others on the same texts: held-out messages and two other kinds."""
    texts = {
        "held-out messages": list(held_out),
        "held-out messages, the first 24 letters": [
            Message(one.text[:24], one.language) for one in held_out
        ],
        "example sentences": unseen(example_sentences(), learn),
        "MGSM problems (5 languages)": mgsm(assets / "prompts"),
    }
    trigrams = Trigrams(learn, LANGUAGES)
    scores: dict[str, Score] = {}
    for name, messages in texts.items():
        expected = [LANGUAGES.index(message.language) for message in messages]
        scores[name] = accuracy(predict(model, messages), expected)
        scores[f"{name}, byte trigrams"] = accuracy(
            [trigrams.language(message.text) for message in messages], expected
        )
        if importlib.util.find_spec("fasttext"):
            found = fasttext(assets / "models/fasttext/lid.176.ftz", messages)
            scores[f"{name}, fastText lid.176.ftz"] = accuracy(found, expected)
    return scores


def unseen(messages: Sequence[Message], learn: Sequence[Message]) -> list[Message]:
    known = {plain(message.text) for message in learn}
    return [message for message in messages if plain(message.text) not in known]


def mgsm(folder: Path) -> list[Message]:
    """Mathematical problems told in words."""
    return [
        Message(line.split("\t")[0], name)
        for name in MGSM
        for line in (folder / f"mgsm_{name}.tsv").read_text(encoding="utf-8").splitlines()
    ]


def fasttext(file: Path, messages: Sequence[Message]) -> list[int]:
    """What fastText takes for the likeliest of our languages; it knows 176."""
    model = importlib.import_module("fasttext").load_model(str(file))
    found = []
    for message in messages:
        labels, _ = model.predict(" ".join(message.text.split()), k=176)
        names = (label.removeprefix("__label__") for label in labels)
        found.append(next((LANGUAGES.index(name) for name in names if name in LANGUAGES), -1))
    return found


def confused(messages: Sequence[Message], found: Sequence[int]) -> str:
    """The five commonest errors, as a line."""
    wrong: dict[tuple[str, str], int] = {}
    for message, index in zip(messages, found, strict=True):
        if LANGUAGES[index] != message.language:
            pair = (message.language, LANGUAGES[index])
            wrong[pair] = wrong.get(pair, 0) + 1
    worst = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:5]
    return ", ".join(f"{a} for {b} ({n})" for (b, a), n in worst)
