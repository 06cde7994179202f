"""Generated inputs on which a network's activations have the statistics that it was trained with.

Batch norms remember mean and variance of what they saw in training.  Inputs are changed by
gradient descent until each of these layers sees about that again.

Source: Cai et al., "ZeroQ: a novel zero shot quantization framework", CVPR 2020, section 3.1.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from reticule.data import Preprocessing
from reticule.evaluation.generated import generated_inputs
from reticule.graph import Graph, Network, Node
from reticule.tuning.executor import execute
from reticule.tuning.running import Inputs, as_input, constant_tensors

WORK = 1e12  # multiply-accumulates of all steps
PASSES = 3  # forward passes that a step takes as long as
FEWEST_STEPS, MOST_STEPS = 10, 100
FEWEST = 4  # inputs
ACTIVATIONS = 1 << 26  # values that are kept for a step back
RATE = 0.05
SMALLEST_VARIANCE = 1e-6


def inputs_like_training(
    network: Network, count: int, seed: int, preprocessing: Preprocessing | None = None
) -> Inputs:
    """Up to ``count`` inputs (float32, one array for each of the network's), without any data.

    Smooth noise, matched to the statistics of the batch norms as far as the network has any:
    a few at a time of a large network, and fewer of them.
    """
    graph = network.graph
    norms = [node for node in graph.nodes if node.op == "BatchNormalization"]
    norms = [node for node in norms if all(n in graph.tensors for n in node.inputs[1:])]
    if not norms:
        return generated_inputs(graph.inputs, count, seed, preprocessing)
    cost = PASSES * max(sum(graph.macs().values()), 1)
    count = min(count, max(FEWEST, int(WORK / cost / FEWEST_STEPS)))
    steps = min(MOST_STEPS, max(FEWEST_STEPS, int(WORK / cost / count)))
    inputs = generated_inputs(graph.inputs, count, seed, preprocessing)
    shapes = graph.shapes()
    values = sum(math.prod(shapes[name][1:]) for node in graph.nodes for name in node.outputs)
    together = max(1, ACTIVATIONS // max(values, 1))
    tensors = constant_tensors(network)
    parts = []
    for start in range(0, count, together):
        some = tuple(values[start : start + together] for values in inputs)
        parts.append(_matched(graph, tensors, some, norms, steps))
    return tuple(np.concatenate(same) for same in zip(*parts, strict=True))


def _matched(
    graph: Graph, tensors: dict[str, Tensor], inputs: Inputs, norms: list[Node], steps: int
) -> Inputs:
    """The inputs, changed until the batch norms see about what they remember."""
    found = [as_input(part).clone().requires_grad_() for part in inputs]
    optimiser = torch.optim.Adam(found, lr=RATE)
    best, least = inputs, float("inf")
    for _ in range(steps):
        optimiser.zero_grad()
        away = _away(graph, tensors, found, norms)
        distance = float(away.detach())
        if distance < least:
            best, least = tuple(part.detach().numpy().copy() for part in found), distance
        away.backward()
        optimiser.step()
    return tuple(np.ascontiguousarray(part) for part in best)


def _away(
    graph: Graph, tensors: dict[str, Tensor], inputs: list[Tensor], norms: list[Node]
) -> Tensor:
    """How far what the batch norms see is from what they remember, on average."""
    sources = [node.inputs[0] for node in norms]
    watch = frozenset(name for name in sources if name not in graph.inputs)
    order = [n.outputs[0] for n in graph.nodes if n.outputs[0] in watch]
    values = dict(zip(graph.inputs, inputs, strict=True))
    watched = execute(graph, tensors, *inputs, watch=watch)[len(graph.outputs) :]
    values.update(zip(order, watched, strict=True))
    total = torch.zeros(())
    for node, source in zip(norms, sources, strict=True):
        mean, variance = tensors[node.inputs[3]], tensors[node.inputs[4]]
        flat = values[source].movedim(1, 0).flatten(1)
        scale = variance.clamp_min(SMALLEST_VARIANCE)
        seen = flat.var(1, unbiased=False).clamp_min(SMALLEST_VARIANCE)
        total = total + ((flat.mean(1) - mean).square() / scale).mean()
        total = total + (seen / scale).log().square().mean()
    return total / len(norms)
