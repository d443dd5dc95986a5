"""Tiny tokenizers, made here: one of each kind of vocabulary."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from tokenizers.processors import TemplateProcessing

from weir_kit.clock import ManualClock
from weir_tokenizer.adapters.huggingface import HuggingFaceTokenizer, load

SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CORPUS = [
    "once upon a time there was a little weir in a river",
    "the weir let the water through, and held back what must not pass",
    "naïve café, déjà vu: 你好世界 and привет",
    "STOP here, stop there, <end> of it all",
] * 4
CHATML = (
    "{{ bos_token }}{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONFIG = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": CHATML}


def byte_level() -> Tokenizer:
    """Byte-level BPE as of GPT-2: a token may end inside a character."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    begin = ("<s>", tokenizer.token_to_id("<s>"))
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[begin])
    return tokenizer


def byte_fallback() -> Tokenizer:
    """SentencePiece BPE as of Llama 2: spaces are in tokens, unknown characters fall to bytes."""
    letters = sorted(set("".join(CORPUS[:2]).replace(" ", "▁")))
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *letters, "\ufffd"]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("▁", "w"), ("e", "r"), ("▁", "▁")]
    tokens += ["".join(pair) for pair in merges]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return tokenizer


def metaspace() -> Tokenizer:
    """SentencePiece Unigram as of T5: a word begins with a mark, unknown characters are lost."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def word_piece() -> Tokenizer:
    """WordPiece as of BERT: spaces are between tokens, not in them."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def end_of_word() -> Tokenizer:
    """BPE as of GPT-1: a word's last token has a suffix, whose space shows only before another."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder()
    trainer = trainers.BpeTrainer(
        vocab_size=150,
        special_tokens=SPECIAL,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": byte_level,
    "byte-fallback": byte_fallback,
    "metaspace": metaspace,
    "word-piece": word_piece,
    "end-of-word": end_of_word,
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Hugging Face folder of each kind."""
    made = {}
    for kind, make in KINDS.items():
        made[kind] = tmp_path_factory.mktemp(kind)
        make().save(str(made[kind] / "tokenizer.json"))
        (made[kind] / "tokenizer_config.json").write_text(json.dumps(CONFIG), "utf-8")
    return made


@pytest.fixture(scope="session")
def tokenizers(folders: dict[str, Path]) -> dict[str, HuggingFaceTokenizer]:
    """A loaded tokenizer of each kind, named for it."""
    return {kind: load(kind, str(folder), ManualClock()) for kind, folder in folders.items()}


@pytest.fixture(scope="session", params=list(KINDS))
def tokenizer(
    request: pytest.FixtureRequest, tokenizers: dict[str, HuggingFaceTokenizer]
) -> HuggingFaceTokenizer:
    """Each kind in turn."""
    return tokenizers[request.param]


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real test data beside the repository; without it the test is skipped."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "pyproject.toml").is_file() and (parent / "protos").is_dir():
            folder = parent.parent / "shared" / "assets"
            if folder.is_dir():
                return folder
    pytest.skip("the real test data (../shared/assets beside the repository) is not here")
