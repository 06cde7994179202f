"""What a network's answers depend on: second-order statistics from unlabelled images.

For a layer with inputs x (one row of the im2col matrix) and weight errors e of an output
channel r, a small change of the weights changes the answers by

    KL(original || changed) ~ 1/2 * sum over r of importance[r] * e[r]^T H e[r]

in nats per image, with H = E[x x^T] and importance[r] the sum over positions of the
squared gradient of the log-likelihood of an answer drawn from the network's own
(:mod:`reticule.tuning.likelihood`: a class, or numbers for what is no classifier).
That is the Fisher information with inputs and gradients taken as independent (K-FAC
with a diagonal output factor: Martens & Grosse 2015).  No labels are needed, as classes are
drawn from what the network says itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reticule.data import Data
from reticule.graph import Graph, Node
from reticule.methods.layerwise.sizes import batch_of
from reticule.progress import Progress
from reticule.tuning.executor import execute
from reticule.tuning.likelihood import Likelihood
from reticule.tuning.problem import Problem, as_input

LARGEST = 1 << 22  # entries of the largest value of a batch: all of them are kept
FLOOR = 0.01  # of the mean importance: a channel that is silent here may speak elsewhere
MIXED = (0.2, 0.5)  # share of the second image


def unseen_like(
    data: Data, problem: Problem, rng: np.random.Generator, *, mixed: bool
) -> tuple[np.ndarray, ...]:
    """Inputs for the network, one array for each of its own, changed so that it has not seen them.

    A network knows its training images by heart: on those its answers are far surer than on
    new ones, and say little about what compression will cost.  So each image is shifted
    and mirrored as the network tolerates, and if ``mixed``, for a classifier, blended with another
    one (Zhang et al., "mixup", ICLR 2018).  Inputs that are no images stay as they are.
    """
    chosen = np.arange(len(data))
    if not data.holds_images:
        return data.inputs(chosen)
    pixels = data.preprocessing.apply(problem.augmentation(data.images(chosen), rng))
    if not mixed or not problem.classified:
        return (pixels,)
    share = rng.uniform(*MIXED, (len(pixels), 1, 1, 1)).astype(np.float32)
    return ((1 - share) * pixels + share * pixels[rng.permutation(len(pixels))],)


@dataclass(frozen=True)
class Seen:
    """The rows that a layer's weights are multiplied with: (groups, samples, columns)."""

    rows: Tensor

    def moment(self, other: Seen | None = None) -> Tensor:
        """Sum over samples of x y^T (groups, columns, columns)."""
        return self.rows.transpose(1, 2) @ (other or self).rows


def seen_by(node: Node, x: Tensor, shape: tuple[int, ...], thin: int = 1, offset: int = 0) -> Seen:
    """What a Conv or Gemm with weights of ``shape`` sees of its input x.

    Of a convolution's output positions every ``thin``-th in both directions, beginning with
    one that ``offset`` chooses.
    """
    if node.op == "Gemm":
        return Seen(x.reshape(1, -1, x.shape[-1]))
    settings: Any = node.settings
    top, left, bottom, right = settings["pads"]
    down, along = settings["strides"]
    x = F.pad(x, (left, right, top, bottom))
    if thin > 1:
        x = x[:, :, down * (offset % thin) :, along * (offset // thin % thin) :]
    columns = F.unfold(x, shape[2:], settings["dilations"], 0, (down * thin, along * thin))
    images, width, positions = columns.shape
    groups = settings["group"]
    split = columns.reshape(images, groups, width // groups, positions)
    return Seen(split.permute(1, 0, 3, 2).reshape(groups, images * positions, -1))


def seen_on_average(node: Node, x: Tensor, shape: tuple[int, ...]) -> Seen:
    """The mean over all output positions of what a layer sees: (groups, images, columns)."""
    if node.op == "Gemm":
        return Seen(x.reshape(1, len(x), -1, x.shape[-1]).mean(2))
    settings: Any = node.settings
    top, left, bottom, right = settings["pads"]
    down, along = settings["strides"]
    x = F.pad(x, (left, right, top, bottom))
    rows, columns = (
        1 + (x.shape[2 + i] - 1 - settings["dilations"][i] * (shape[2 + i] - 1)) // step
        for i, step in enumerate((down, along))
    )
    taps = []
    for ky in range(0, shape[2] * settings["dilations"][0], settings["dilations"][0]):
        strip = x[:, :, ky : ky + (rows - 1) * down + 1 : down].mean(2)
        for kx in range(0, shape[3] * settings["dilations"][1], settings["dilations"][1]):
            taps.append(strip[:, :, kx : kx + (columns - 1) * along + 1 : along].mean(2))
    means = torch.stack(taps, dim=2)  # images, channels, taps
    return Seen(means.reshape(len(x), settings["group"], -1).transpose(0, 1))


def outputs_of(node: Node, y: Tensor, groups: int, thin: int = 1, offset: int = 0) -> Seen:
    """A layer's output at the positions of :func:`seen_by`: (groups, samples, rows of a group)."""
    if node.op == "Conv" and thin > 1:
        y = y[:, :, offset % thin :: thin, offset // thin % thin :: thin]
    flat = channels_last(node, y)
    return Seen(flat.reshape(len(flat), groups, -1).transpose(0, 1))


def channels_last(node: Node, y: Tensor) -> Tensor:
    """A layer's output as (samples, channels)."""
    return y.movedim(1, -1).flatten(0, -2) if node.op == "Conv" else y.reshape(-1, y.shape[-1])


@dataclass(frozen=True)
class Fisher:
    """What the answers depend on in a layer's outputs, by squared gradients.

    ``rows`` importance of every output channel (float64).  ``common`` is the share of it that
    the positions of an image have in common (0 to 1): the squares of gradients averaged over
    positions.  Errors at these positions do not add up like independent ones.
    """

    rows: np.ndarray
    common: float


def importances(
    graph: Graph,
    tensors: dict[str, Tensor],
    inputs: tuple[np.ndarray, ...],
    likelihood: Likelihood,
    seed: int,
    progress: Progress,
) -> dict[str, np.ndarray]:
    """Importance of every output channel (float64), by the name of the weight tensor.

    ``inputs`` are prepared, one array for each of the network's; one answer is drawn for each.
    """
    found = fisher(graph, tensors, inputs, likelihood, seed, progress)
    return {name: layer.rows for name, layer in found.items()}


def fisher(
    graph: Graph,
    tensors: dict[str, Tensor],
    inputs: tuple[np.ndarray, ...],
    likelihood: Likelihood,
    seed: int,
    progress: Progress,
) -> dict[str, Fisher]:
    """As :func:`importances`, with what positions have in common."""
    drawn = torch.Generator().manual_seed(seed)
    layers = {weight: node for node, weight in graph.weights()}
    watch = frozenset(node.outputs[0] for node in layers.values())
    watched = [n.outputs[0] for n in graph.nodes if n.outputs[0] in watch]
    sums: dict[str, Tensor] = {}
    common = dict.fromkeys(layers, 0.0)
    count, size = len(inputs[0]), batch_of(graph, largest=LARGEST)
    with progress.bar("sensitivity", count) as bar:
        for start in range(0, count, size):
            batch = [as_input(part[start : start + size]).requires_grad_() for part in inputs]
            outputs = execute(graph, tensors, *batch, watch=watch)
            values = dict(zip(watched, outputs[len(graph.outputs) :], strict=True))
            compared = likelihood.compared(graph, outputs[: len(graph.outputs)])
            target = likelihood.drawn(compared, drawn)
            places = [values[node.outputs[0]] for node in layers.values()]
            gradients = torch.autograd.grad(target, places, allow_unused=True)
            for (weight, node), gradient in zip(layers.items(), gradients, strict=True):
                if gradient is not None:
                    part = channels_last(node, gradient).double().square().sum(0)
                    sums[weight] = sums[weight] + part if weight in sums else part
                    common[weight] += _common(node, gradient)
            bar.advance(len(batch[0]))
    found = {}
    for weight in layers:
        rows = graph.tensors[weight][0]
        mean = sums[weight].numpy() / count if weight in sums else np.zeros(rows)
        total = float(mean.sum()) * count
        share = common[weight] / total if total > 0 else 0.0
        found[weight] = Fisher(mean + FLOOR * mean.mean(), share)
    return found


def _common(node: Node, gradient: Tensor) -> float:
    """Sum of the squares that are left when each image has its mean at every position."""
    if node.op != "Conv":
        return float(gradient.double().square().sum())
    flat = gradient.double().flatten(2)
    return float(flat.shape[2] * flat.mean(2).square().sum())
