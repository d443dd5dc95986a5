"""The training loop that all models here share: AdamW, a warm-up and a cosine, averaged weights."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Recipe:
    """How to train: `rows` examples a step; rates without unit."""

    n_steps: int
    rows: int
    lr: float
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    average_decay: float = 0.0  # of the exponential average of the weights; 0 is none
    report_every_steps: int = 200


def fit(model: nn.Module, loss_of_step: Callable[[int], Tensor], recipe: Recipe) -> list[float]:
    """Train in place by the loss that each step draws; returns the loss of every step.

    With `average_decay` the model ends with the averaged weights; its buffers stay the last ones.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, recipe))
    averaged = copy.deepcopy(list(model.parameters()))
    losses: list[float] = []
    model.train()
    for step in range(recipe.n_steps):
        loss = loss_of_step(step)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        # Early on the average follows closely, so that it never holds the random start for long.
        decay = min(recipe.average_decay, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, parameter in zip(averaged, model.parameters(), strict=True):
                mean.lerp_(parameter, 1 - decay)
        if step % recipe.report_every_steps == 0:
            print(f"step {step}: loss {losses[-1]:.4f}", flush=True)
    with torch.no_grad():
        for mean, parameter in zip(averaged, model.parameters(), strict=True):
            parameter.copy_(mean)
    model.eval()
    return losses


def rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine down to 1 %, as a factor."""
    warmup_steps = max(1, round(recipe.n_steps * recipe.warmup_share))
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, recipe.n_steps - warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
