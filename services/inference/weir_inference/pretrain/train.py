"""The training loop: Muon for matrices, AdamW for the rest, warm-up and cosine decay."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from weir_inference.pretrain.corpus import Corpus
from weir_inference.pretrain.model import LlamaModel


@dataclass(frozen=True)
class Recipe:
    """How to train: sizes in tokens, rates without unit."""

    n_steps: int
    sequences_per_step: int = 32
    context: int = 512
    lr_matrix: float = 0.02
    lr_other: float = 0.004
    warmup_steps: int = 50
    lr_floor: float = 0.02
    weight_decay: float = 0.05
    seed: int = 17
    bf16: bool = True
    compiled: bool = True
    checkpoint_every_steps: int = 100


@dataclass(frozen=True)
class Loss:
    """One point of the loss curve, in nats per token."""

    step: int
    loss: float


def batches(corpus: Corpus, tokenizer: Tokenizer, recipe: Recipe) -> Iterator[Tensor]:
    """Endless [sequences, context + 1] int64 windows over packed documents, epoch after epoch."""
    window = recipe.context + 1
    epoch, left = 0, torch.empty(0, dtype=torch.int64)
    while True:
        encoded = tokenizer.encode_batch(
            list(corpus.documents(epoch, recipe.seed)), add_special_tokens=False
        )
        stream = torch.tensor([i for e in encoded for i in e.ids], dtype=torch.int64)
        left = torch.cat((left, stream))
        n = recipe.sequences_per_step * window
        while len(left) >= n:
            yield left[:n].view(-1, window)
            left = left[n:]
        epoch += 1


def train(
    model: LlamaModel, data: Iterator[Tensor], recipe: Recipe, checkpoint: Callable[[], None]
) -> list[Loss]:
    """Train in place, calling `checkpoint` now and then; returns the loss every ten steps."""
    torch.manual_seed(recipe.seed)
    device = next(model.parameters()).device
    optimizers = make_optimizers(model, recipe)
    step_loss = torch.compile(sequence_loss) if recipe.compiled else sequence_loss
    curve: list[Loss] = []
    bar = tqdm(range(recipe.n_steps), unit="step", mininterval=10.0)
    for step in bar:
        rate = learning_rate(step, recipe)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * rate
        batch = next(data).to(device)
        total = 0.0
        micro = max(1, recipe.sequences_per_step // 4)
        for part in torch.split(batch, micro):
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
                loss = step_loss(model, part) * (len(part) / len(batch))
            torch.autograd.backward(loss)
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if step % 10 == 0 or step == recipe.n_steps - 1:
            curve.append(Loss(step, total))
            bar.set_postfix(loss=f"{total:.3f}", at=time.strftime("%H:%M"))
        if step % recipe.checkpoint_every_steps == recipe.checkpoint_every_steps - 1:
            checkpoint()
    return curve


def make_optimizers(model: LlamaModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) on the layers' matrices; AdamW on embeddings and norms."""
    layers = list(model.model.layers.parameters())
    matrices = [p for p in layers if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    other = [p for p in model.parameters() if id(p) not in chosen]
    made: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=recipe.lr_matrix, weight_decay=recipe.weight_decay),
        torch.optim.AdamW(other, lr=recipe.lr_other, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return made


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine from 1 to `lr_floor`, as a factor."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.n_steps - recipe.warmup_steps)
    return recipe.lr_floor + (1 - recipe.lr_floor) * 0.5 * (1 + math.cos(math.pi * done))


def sequence_loss(model: LlamaModel, windows: Tensor) -> Tensor:
    """Mean next-token cross-entropy in nats over [sequences, context + 1] windows."""
    ids, targets = windows[:, :-1], windows[:, 1:]
    return F.cross_entropy(model(ids).float(), targets.reshape(-1))


@torch.inference_mode()
def held_out_nats(
    model: LlamaModel, tokenizer: Tokenizer, text: str, context: int
) -> tuple[float, int]:
    """Total nats and token count of a text never trained on, in windows of `context` tokens."""
    ids = torch.tensor(tokenizer.encode(text, add_special_tokens=False).ids, dtype=torch.int64)
    total, count = 0.0, 0
    for start in range(0, len(ids) - 1, context):
        window = ids[start : start + context + 1].unsqueeze(0)
        if window.shape[1] < 2:
            break
        n = window.shape[1] - 1
        total += sequence_loss(model, window).item() * n
        count += n
    return total, count
