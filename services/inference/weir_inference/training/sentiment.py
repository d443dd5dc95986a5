"""`weir-sentiment`: a small Transformer that tells praise from complaint, in English.

First it learns from a word list over unlabelled sentences (what pleases, what hurts, what turns it
round), then from two thousand labelled ones.
"""

import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional as F

from weir_inference.training.encoder import MAX_TOKENS, Encoder
from weir_inference.training.export import Shipped, assert_same, export_onnx, ship
from weir_inference.training.fit import Recipe, fit
from weir_inference.training.lexicon import Lexicon, vader_lexicon
from weir_inference.training.scores import accuracy
from weir_inference.training.sentences import (
    SOURCES,
    Sentence,
    Split,
    read_plain,
    read_sentences,
    split_of,
)

NAME = "weir-sentiment"
LABELS = ["negative", "positive"]
SEED = 17
VOCABULARY = 9000
WEAK = Recipe(n_steps=3000, rows=64, lr=2e-3)
TUNE = Recipe(n_steps=700, rows=64, lr=5e-4, weight_decay=0.05, average_decay=0.98)


def train(assets: Path, out: Path) -> None:
    """Train, score and write the folder of the model."""
    torch.manual_seed(SEED)
    started_s = time.monotonic()
    split = split_of(read_sentences(assets / "eval/sentiment"))
    lexicon = vader_lexicon()
    plain = read_plain(assets / "corpora")
    learn_texts = [one.text for one in split.learn]
    tokenizer = train_tokenizer([*plain, *learn_texts * 60, *lexicon.words * 20], VOCABULARY)
    model = Encoder(tokenizer.get_vocab_size())
    start_from_valence(model, tokenizer, lexicon)
    learn_from_lexicon(model, tokenizer, lexicon, [*plain, *learn_texts * 5], WEAK)
    learn_from_labels(model, tokenizer, lexicon, split.learn, TUNE)
    seconds = time.monotonic() - started_s
    write(out, model, tokenizer, split, lexicon, seconds)


def train_tokenizer(texts: list[str], vocabulary: int) -> Tokenizer:
    """Lower-case WordPiece; [CLS] before every text, [PAD] is 0."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=["[PAD]", "[UNK]", "[CLS]"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 2)]
    )
    return tokenizer


@torch.no_grad()
def start_from_valence(model: Encoder, tokenizer: Tokenizer, lexicon: Lexicon) -> None:
    """Give the words of the list their valence as the first number of their embedding."""
    for word, valence in lexicon.valence.items():
        token_id = tokenizer.token_to_id(word)
        if token_id is not None:
            model.tokens.weight[token_id, 0] = valence / 8


def learn_from_lexicon(
    model: nn.Module, tokenizer: Tokenizer, lexicon: Lexicon, texts: list[str], recipe: Recipe
) -> list[float]:
    """Foretell what the word list says of sentences with some of its words planted."""
    chance = random.Random(SEED)  # noqa: S311

    def loss_of_step(step: int) -> Tensor:
        del step
        chosen = [lexicon.planted(chance.choice(texts), chance) for _ in range(recipe.rows)]
        praise = torch.tensor([lexicon.pleasure(text) for text in chosen])
        logits = model(*encode(tokenizer, chosen))
        return F.cross_entropy(logits, torch.stack((1 - praise, praise), 1))

    return fit(model, loss_of_step, recipe)


def learn_from_labels(
    model: nn.Module,
    tokenizer: Tokenizer,
    lexicon: Lexicon,
    sentences: list[Sentence],
    recipe: Recipe,
) -> list[float]:
    """Learn the labels, with words missing at random; half as many weak lessons go on beside."""
    chance = random.Random(SEED)  # noqa: S311

    def loss_of_step(step: int) -> Tensor:
        del step
        chosen = [chance.choice(sentences) for _ in range(recipe.rows)]
        ids, mask = encode(tokenizer, [one.text for one in chosen])
        missing = (torch.rand(ids.shape) < 0.1) & (ids > 2)
        labels = torch.tensor([one.label for one in chosen])
        loss = F.cross_entropy(
            model(ids.masked_fill(missing, 1), mask), labels, label_smoothing=0.1
        )
        planted = [lexicon.planted(one.text, chance) for one in chosen[: recipe.rows // 2]]
        praise = torch.tensor([lexicon.pleasure(text) for text in planted])
        weak = F.cross_entropy(
            model(*encode(tokenizer, planted)), torch.stack((1 - praise, praise), 1)
        )
        return loss + 0.5 * weak

    return fit(model, loss_of_step, recipe)


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids and mask, int64 [texts, tokens], padded with 0 to the longest."""
    rows = [row.ids[:MAX_TOKENS] for row in tokenizer.encode_batch(list(texts))]
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return ids, (ids > 0).long()


@torch.inference_mode()
def rate_texts(model: nn.Module, tokenizer: Tokenizer, sentences: Sequence[Sentence]) -> list[int]:
    """The likelier label of each sentence."""
    return [int(i) for i in model(*encode(tokenizer, [s.text for s in sentences])).argmax(1)]


def write(
    out: Path,
    model: Encoder,
    tokenizer: Tokenizer,
    split: Split,
    lexicon: Lexicon,
    seconds: float,
) -> None:
    """The model's folder, with what it and three baselines get right."""
    ids, mask = encode(tokenizer, [one.text for one in split.held_out[:8]])
    sizes = {0: "batch", 1: "tokens"}
    axes = {"input_ids": sizes, "attention_mask": sizes, "logits": {0: "batch"}}
    examples = {"input_ids": ids, "attention_mask": mask}
    export_onnx(model, examples, axes, out / "model.onnx")
    ids, mask = encode(tokenizer, [one.text * 9 for one in split.held_out[:3]])
    assert_same(model, out / "model.onnx", {"input_ids": ids, "attention_mask": mask})
    tokenizer.save(str(out / "tokenizer.json"))
    expected = [one.label for one in split.held_out]
    found = rate_texts(model, tokenizer, split.held_out)
    scores = {"held-out sentences": accuracy(found, expected)}
    for source in SOURCES:
        rows = [i for i, one in enumerate(split.held_out) if one.source == source]
        scores[f"held-out sentences, {source}"] = accuracy(
            [found[i] for i in rows], [expected[i] for i in rows]
        )
    scores |= {
        "word counts and logistic regression": accuracy(word_counts(split), expected),
        "word list alone": accuracy(
            [int(lexicon.pleasure(one.text) >= 0.5) for one in split.held_out], expected
        ),
        "always positive": accuracy([1] * len(expected), expected),
    }
    card = {
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "vocabulary": f"{tokenizer.get_vocab_size():,}",
        "weak_steps": f"{WEAK.n_steps:,}",
        "steps": f"{TUNE.n_steps:,}",
        "rows": str(TUNE.rows),
        "seed": str(SEED),
        "minutes": f"{seconds / 60:.0f}",
        "n_words": f"{len(lexicon.words):,}",
        "n_learn": f"{len(split.learn):,}",
        "n_choose": f"{len(split.choose):,}",
        "n_held_out": f"{len(split.held_out):,}",
    }
    preprocess: dict[str, object] = {"max_tokens": MAX_TOKENS}
    ship(
        out,
        Shipped(
            NAME,
            "text-classification",
            preprocess,
            scores,
            card,
            LABELS,
            tokenizer="tokenizer.json",
        ),
    )


def word_counts(split: Split) -> list[int]:
    """The baseline: words and pairs of words, weighted by rarity, in a logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    counts = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    learn = counts.fit_transform([one.text for one in split.learn])
    regression = LogisticRegression(C=10).fit(learn, [one.label for one in split.learn])
    held_out = counts.transform([one.text for one in split.held_out])
    return [int(label) for label in regression.predict(held_out)]
