"""A network trained briefly: the same module, images and seed give the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generated.sets import Drawn

BATCH = 64
Loss = Callable[[Any, Tensor], Tensor]
"""From what a module answers, and the targets."""


def train(
    module: nn.Module, drawn: Drawn, loss: Loss, *, epochs: int, rate: float, seed: int
) -> nn.Module:
    """Train a module in place, and return it in evaluation mode.

    Images go in as pixel/255.  The learning rate (Adam) rises for a tenth of the steps, and
    falls to nothing after that.
    """
    # Convolutions of each channel by itself are twice as fast in this layout.
    module = module.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=1e-3)
    batches = len(drawn) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=epochs * batches, pct_start=0.1
    )
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of dropout
        for _ in range(epochs):
            order = rng.permutation(len(drawn))
            for chosen in order[: batches * BATCH].reshape(batches, BATCH):
                value = loss(module(network_input(drawn, chosen)), targets(drawn, chosen))
                optimiser.zero_grad()
                value.backward()
                optimiser.step()
                schedule.step()
    return module.to(memory_format=torch.contiguous_format).eval()


def network_input(drawn: Drawn, chosen: np.ndarray) -> Tensor:
    pixels = torch.from_numpy(drawn.images[chosen])
    return (pixels.float() / 255).contiguous(memory_format=torch.channels_last)


def targets(drawn: Drawn, chosen: np.ndarray) -> Tensor:
    return torch.from_numpy(drawn.targets[chosen])


def classes(answer: Tensor, labels: Tensor) -> Tensor:
    """Loss of a classifier's scores (n, classes)."""
    return F.cross_entropy(answer, labels)
