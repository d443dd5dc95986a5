"""`python -m weir_inference.pretrain CORPUS OUT`: train a small Llama from scratch.

Writes a Hugging Face folder (config.json, model.safetensors in bf16, tokenizer.json,
chat_template.jinja), `loss.png` and `training.json` with the recipe, the loss curve and the
perplexity on held-out books.
"""

import argparse
import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.pretrain.bpe import save_tokenizer, train_tokenizer
from weir_inference.pretrain.corpus import SPECIAL_TOKENS, read_corpus
from weir_inference.pretrain.model import LlamaModel
from weir_inference.pretrain.train import Loss, Recipe, batches, held_out_nats, train

HELD_OUT_BOOKS = ("peter-pan", "the-wonderful-wizard-of-oz")
SKIP = ("tinyshakespeare",)


def main() -> None:
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    started_s = time.monotonic()
    corpus = read_corpus(args.corpus, HELD_OUT_BOOKS, SKIP)
    tokenizer = train_tokenizer([*corpus.chapters, *corpus.stories], args.vocab)
    save_tokenizer(tokenizer, args.out, args.context)
    raw_config = hugging_face_config(args)
    recipe = Recipe(
        n_steps=args.steps,
        sequences_per_step=args.sequences,
        context=args.context,
        compiled=args.compile,
    )
    torch.manual_seed(recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = LlamaModel(ModelConfig.from_dict(raw_config)).to(device)
    initialise(model)
    n_parameters = sum(p.numel() for p in model.parameters())
    print(
        f"{n_parameters / 1e6:.2f} M parameters, {len(corpus.chapters)} chapters, "
        f"{len(corpus.stories)} stories, device {device}",
        flush=True,
    )
    write_json(args.out / "config.json", raw_config)
    write_json(args.out / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 1})
    data = batches(corpus, tokenizer, recipe)
    curve = train(model, data, recipe, lambda: save_weights(model, args.out))
    save_weights(model, args.out)
    model = model.to("cpu", torch.bfloat16)
    held_out = {}
    for name, text in corpus.held_out.items():
        nats, n_tokens = held_out_nats(model, tokenizer, text, args.context)
        held_out[name] = {
            "perplexity_per_token": round(math.exp(nats / n_tokens), 3),
            "bits_per_byte": round(nats / math.log(2) / len(text.encode()), 4),
            "tokens": n_tokens,
        }
        print(name, held_out[name], flush=True)
    report = {
        "parameters": n_parameters,
        "recipe": asdict(recipe),
        "tokens_seen": recipe.n_steps * recipe.sequences_per_step * recipe.context,
        "device": device,
        "wall_s": round(time.monotonic() - started_s),
        "held_out": held_out,
        "loss": [[point.step, round(point.loss, 4)] for point in curve],
    }
    write_json(args.out / "training.json", report)
    plot_loss(curve, args.out / "loss.png")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m weir_inference.pretrain", description=__doc__)
    parser.add_argument("corpus", type=Path, help="folder of *.txt")
    parser.add_argument("out", type=Path, help="folder to write the model to")
    parser.add_argument("--steps", type=int, default=1100, help="optimizer steps")
    parser.add_argument("--sequences", type=int, default=32, help="sequences per step")
    parser.add_argument("--context", type=int, default=512, help="tokens per sequence")
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def hugging_face_config(args: argparse.Namespace) -> dict[str, object]:
    """A `config.json` that transformers and every Llama server read."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": args.vocab,
        "hidden_size": args.hidden,
        "intermediate_size": args.hidden * 5 // 2,
        "num_hidden_layers": args.layers,
        "num_attention_heads": args.hidden // 32,
        "num_key_value_heads": args.hidden // 64,
        "head_dim": 32,
        "hidden_act": "silu",
        "max_position_embeddings": args.context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": SPECIAL_TOKENS.index("<|begin|>"),
        "eos_token_id": SPECIAL_TOKENS.index("<|end|>"),
        "torch_dtype": "bfloat16",
    }


def initialise(model: LlamaModel) -> None:
    """Small normal weights; what writes into the residual stream starts smaller by depth."""
    depth_scale = 1 / math.sqrt(2 * model.config.n_layers)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            last = name.endswith(("o_proj.weight", "down_proj.weight"))
            torch.nn.init.normal_(parameter, std=0.02 * (depth_scale if last else 1.0))


def save_weights(model: LlamaModel, folder: Path) -> None:
    """Write what is not tied, in bf16."""
    state = {
        name: tensor.to("cpu", torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def plot_loss(curve: list[Loss], file: Path) -> None:
    """The loss curve as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.plot([p.step for p in curve], [p.loss for p in curve])
    axes.set(xlabel="step", ylabel="loss (nats per token)", title="weir-tales pre-training")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
