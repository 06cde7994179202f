"""Prices put right by trial: what a layer's errors really do to the network's answers.

The quadratic form of :mod:`reticule.methods.quantise.calibration` takes errors of different
channels and positions for independent.  Where all of a layer shrinks together they add up, and
cost several times as much.  So each layer is pruned by itself, a little, and the answers of
the network with this one change are compared with those of the original.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reticule.graph import Graph
from reticule.methods.obs.pruning import rebuilt
from reticule.methods.quantise.layers import Sensitivity
from reticule.progress import Progress
from reticule.tuning.executor import execute
from reticule.tuning.likelihood import Likelihood
from reticule.tuning.problem import as_input

LOSS = 0.05  # nats that all trials together should cost, as far as prices tell
MOST_REMOVED = 0.9  # share of a layer's weights that a trial removes at most
CHECKED = 2e11  # multiply-accumulates of all trials
NOTHING = 1e-6  # nats: too little to compare
FEWEST = 64  # images
LARGEST_FACTOR = 32.0
BATCH = 64


@dataclass(frozen=True)
class Probe:
    """One layer's weights after a trial, and what they should cost (nats)."""

    weights: np.ndarray
    predicted: float


def probe_of(
    weights: np.ndarray,
    hessian: np.ndarray,
    importance: np.ndarray,
    prices: np.ndarray,
    share: float,
) -> Probe:
    """The layer (rows, columns) without its cheapest weights, as many as :data:`LOSS` pays.

    Of that the layer has its ``share``: errors do not grow as their prices for ever, and at
    one price for all, larger layers lose more in all.
    """
    rising = np.sort(prices, axis=None)
    count = int(np.searchsorted(np.cumsum(rising), LOSS * share))
    count = min(count, int(MOST_REMOVED * rising.size))
    mask = prices > rising[count - 1] if count else np.ones(prices.shape, bool)
    made = rebuilt(weights, hessian, mask)
    return Probe(made, Sensitivity(hessian, importance).loss(made - weights))


@torch.no_grad()
def factors(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    probes: Mapping[str, Probe],
    inputs: tuple[np.ndarray, ...],
    likelihood: Likelihood,
    progress: Progress,
) -> dict[str, float]:
    """How many times its predicted loss each probe costs; 1 where nothing was predicted."""
    cost = max(sum(graph.macs().values()) * max(len(probes), 1), 1)
    inputs = tuple(values[: max(FEWEST, int(CHECKED / cost))] for values in inputs)
    exact = _answers(graph, tensors, inputs, likelihood)
    found = {}
    with progress.bar("probing", len(probes)) as bar:
        for name, probe in probes.items():
            new = torch.from_numpy(probe.weights.astype(np.float32)).reshape(tensors[name].shape)
            answers = _answers(graph, {**tensors, name: new}, inputs, likelihood)
            lost = float(likelihood.nats(exact, answers).mean())
            found[name] = 1.0
            if probe.predicted > NOTHING:
                ratio = lost / probe.predicted
                found[name] = float(np.clip(ratio, 1 / LARGEST_FACTOR, LARGEST_FACTOR))
            bar.advance(1, name)
    return found


def _answers(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    inputs: Sequence[np.ndarray],
    likelihood: Likelihood,
) -> list[Tensor]:
    """Each output as (n, values) that can be compared."""
    parts: list[list[Tensor]] = []
    for start in range(0, len(inputs[0]), BATCH):
        batch = (as_input(values[start : start + BATCH]) for values in inputs)
        parts.append(likelihood.compared(graph, execute(graph, tensors, *batch)))
    return [torch.cat(same) for same in zip(*parts, strict=True)]
