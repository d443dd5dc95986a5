"""A few steps of real pre-training, and what they leave behind."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.pretrain import __main__ as command
from weir_inference.pretrain.bpe import train_tokenizer
from weir_inference.pretrain.corpus import Corpus
from weir_inference.pretrain.model import LlamaModel
from weir_inference.pretrain.train import Recipe, batches, learning_rate, train

STORY = "Once there was a fox. The fox ran to the hill. The fox was glad. " * 20
CORPUS = Corpus(chapters=(STORY,) * 4, stories=(STORY,) * 4, held_out={})
RECIPE = Recipe(
    n_steps=30, sequences_per_step=4, context=64, warmup_steps=5, bf16=False, compiled=False
)


def tiny_model(vocab_size: int) -> LlamaModel:
    torch.manual_seed(0)
    return LlamaModel(
        ModelConfig(
            architecture="llama",
            vocab_size=vocab_size,
            hidden_size=64,
            intermediate_size=128,
            n_layers=2,
            n_heads=2,
            n_kv_heads=1,
            head_dim=32,
            max_positions=64,
            tie_embeddings=True,
        )
    )


def test_the_loss_falls_and_checkpoints_are_taken() -> None:
    tokenizer = train_tokenizer([STORY], vocab_size=300)
    model = tiny_model(300)
    command.initialise(model)
    taken: list[int] = []
    recipe = replace(RECIPE, checkpoint_every_steps=10)
    curve = train(model, batches(CORPUS, tokenizer, recipe), recipe, lambda: taken.append(1))
    assert curve[0].loss == pytest.approx(math.log(300), rel=0.2)
    assert curve[-1].loss < curve[0].loss / 2
    assert len(taken) == 3


def test_the_learning_rate_warms_up_and_ends_at_its_floor() -> None:
    rates = [learning_rate(step, RECIPE) for step in range(RECIPE.n_steps + 1)]
    assert rates[: RECIPE.warmup_steps] == sorted(rates[: RECIPE.warmup_steps])
    assert max(rates) == 1.0
    assert rates[-1] == pytest.approx(RECIPE.lr_floor)


def test_windows_are_the_documents_laid_end_to_end() -> None:
    tokenizer = train_tokenizer([STORY], vocab_size=300)
    first = next(batches(CORPUS, tokenizer, RECIPE))
    stream = [
        token
        for document in CORPUS.documents(0, RECIPE.seed)
        for token in tokenizer.encode(document, add_special_tokens=False).ids
    ]
    assert first.flatten().tolist() == stream[: first.numel()]


def test_the_command_writes_a_folder_that_transformers_reads_to_the_same_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    corpus, out = tmp_path / "corpus", tmp_path / "out"
    corpus.mkdir()
    (corpus / "tale.txt").write_text(f"TITLE\nAUTHOR\n{STORY * 30}")
    (corpus / "peter-pan.txt").write_text(f"TITLE\nAUTHOR\n{STORY}")
    argv = ["pretrain", str(corpus), str(out), "--steps=3", "--context=64", "--vocab=300"]
    monkeypatch.setattr(
        sys, "argv", [*argv, "--hidden=64", "--layers=2", "--sequences=4", "--no-compile"]
    )
    command.main()

    theirs = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.decode(tokenizer.encode("The fox ran.")).endswith("The fox ran.")
    ids = torch.arange(20)
    ours = LlamaModel(ModelConfig.load(out))
    ours.load_state_dict(theirs.state_dict())
    with torch.inference_mode():
        expected = theirs(ids.unsqueeze(0)).logits[0]
        logits = ours(ids.unsqueeze(0))
    assert (logits - expected).abs().max() < 1e-4
    assert (out / "loss.png").stat().st_size > 1000
