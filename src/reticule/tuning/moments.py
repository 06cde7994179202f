"""Moment matching: give each channel back the mean and spread that it had.

Compression shifts the statistics of what a layer puts out.  Layer by layer, in
execution order, mean and variance of every channel of the compressed network are
brought to those of a reference network on the same images (not to statistics of
the data: a network's stored batch-norm statistics need not be those of its own
activations).  For a channel with moments (m, s) that should be (m', s'):

    weight <- weight * s'/s        bias <- m' + (bias - m) * s'/s

The scale goes into the weights where the form is free to take it (dense values
per channel); shared values cannot be scaled per channel, there only the bias moves.
Where there is no evidence, nothing moves: a channel that is all but constant keeps its scale,
scales count by how far so many images can be trusted, and a mean moves as far as the images
agree (:mod:`reticule.tuning.evidence`); one image moves nothing.
Kept only if it helps on held-out images: that is the caller's decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reticule.forms import Dense, Factored, Form, Packed, Scaled, Sparse
from reticule.graph import Graph, Network, Node
from reticule.tuning.evidence import believed, distinct, trust
from reticule.tuning.executor import execute
from reticule.tuning.problem import as_input, constant_tensors
from reticule.tuning.running import Inputs

BATCH = 64
LARGEST_SCALE = 2.0  # a dead channel must not be blown up
CONSTANT = 1e-4  # of the layer's typical spread: what spreads less says nothing of a scale


@dataclass(frozen=True)
class Moments:
    """Of a layer's channels: mean and standard deviation (channels,), and the mean in each
    image (images, channels)."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    each: NDArray[np.float64]


def match_moments(packed: Packed, reference: Network, inputs: Inputs) -> Packed:
    """The network with biases (and, where possible, weights) adjusted channel by channel.

    ``inputs`` are preprocessed, one array (n, ...) for each input of the network; a few hundred
    unlabelled ones suffice.
    The layers of ``packed`` must carry the same node names as those of ``reference``.
    """
    images = distinct(inputs)
    if images < 2:
        return packed
    goals = _moments(reference.graph, constant_tensors(reference), inputs, _layers(reference.graph))
    for name in [n for n in _layers(packed.graph) if n in goals]:
        tensors = constant_tensors(packed.network())
        now = _moments(packed.graph, tensors, inputs, [name])[name]
        packed = _adjusted(packed, name, now, goals[name], images)
    return packed


def _layers(graph: Graph) -> list[str]:
    """Layers whose bias, if they have one, is a tensor."""
    return [
        node.name
        for node, _ in graph.weights()
        if len(node.inputs) < 3 or not node.inputs[2] or node.inputs[2] in graph.tensors
    ]


@torch.no_grad()
def _moments(
    graph: Graph, tensors: dict[str, Tensor], inputs: Inputs, names: Sequence[str]
) -> dict[str, Moments]:
    """Of the named layers' outputs."""
    nodes = [node for node in graph.nodes if node.name in names]
    watch = frozenset(node.outputs[0] for node in nodes)
    means: dict[str, list[Tensor]] = {node.name: [] for node in nodes}
    squares: dict[str, list[Tensor]] = {node.name: [] for node in nodes}
    for start in range(0, len(inputs[0]), BATCH):
        batch = (as_input(values[start : start + BATCH]) for values in inputs)
        values = execute(graph, tensors, *batch, watch=watch)[len(graph.outputs) :]
        for node, value in zip(nodes, values, strict=True):
            axis = 1 if node.op == "Conv" else value.ndim - 1
            each = value.double().movedim(axis, 1).flatten(2) if value.ndim > 2 else value.double()
            each = each if each.ndim > 2 else each[:, :, None]
            means[node.name].append(each.mean(2))
            squares[node.name].append(each.square().mean(2))
    out = {}
    for name, parts in means.items():
        each, square = torch.cat(parts), torch.cat(squares[name])
        mean = each.mean(0)
        spread = (square.mean(0) - mean.square()).clamp_min(0).sqrt()
        out[name] = Moments(mean.numpy(), spread.numpy(), each.numpy())
    return out


def _adjusted(packed: Packed, name: str, now: Moments, goal: Moments, images: int) -> Packed:
    index = next(i for i, node in enumerate(packed.graph.nodes) if node.name == name)
    node = packed.graph.nodes[index]
    form = packed.forms[node.inputs[1]]
    scale = _scale(now.spread, goal.spread, trust(images))
    scaled = _scaled(form, scale)
    if scaled is None:
        scaled, scale = form, np.ones_like(scale)
    packed, bias_name = with_bias(packed, index)
    old = packed.forms[bias_name]
    bias = old.dense().astype(np.float64)
    # What is left for the bias once the scale has changed the values around it.
    shift = believed(goal.each - (now.each - bias) * scale - bias, images)
    return packed.with_forms({node.inputs[1]: scaled, bias_name: _moved(old, bias + shift)})


def _scale(
    now: NDArray[np.float64], goal: NDArray[np.float64], share: float
) -> NDArray[np.float64]:
    """By how much each channel is multiplied: ``share`` of the way, on a scale of ratios."""
    least = CONSTANT * max(float(np.sqrt(np.square(goal).mean())), 1e-30)
    known = (now > least) & (goal > least)
    ratio = np.where(known, goal, 1.0) / np.where(known, now, 1.0)
    return np.asarray(np.clip(ratio, 1 / LARGEST_SCALE, LARGEST_SCALE) ** share)


def _moved(form: Form, values: np.ndarray) -> Form:
    """A bias with other values; what was pruned stays zero."""
    inner = form.values if isinstance(form, Sparse) else form
    dtype = inner.values.dtype if isinstance(inner, Dense) else np.dtype(np.float32)
    if isinstance(form, Sparse):
        return replace(form, values=Dense(values[form.mask()].astype(dtype)))
    return Dense(values.astype(dtype))


def _scaled(form: Form, scale: np.ndarray) -> Form | None:
    """The form with each output channel multiplied, or None if it cannot be."""
    if isinstance(form, Dense):
        factors = scale.reshape(-1, *[1] * (len(form.shape) - 1))
        return Dense((form.values * factors).astype(form.values.dtype))
    if isinstance(form, Sparse) and isinstance(form.values, Dense):
        rows = np.repeat(scale, form.indptr[1:] - form.indptr[:-1])
        values = (form.values.values * rows).astype(form.values.values.dtype)
        return replace(form, values=Dense(values))
    if isinstance(form, Scaled) and (scales := _scaled(form.scales, scale)) is not None:
        return replace(form, scales=scales)
    if isinstance(form, Factored) and (left := _scaled(form.rows, scale)) is not None:
        return replace(form, rows=left)
    return None


def channel_spreads(packed: Packed, names: Sequence[str], inputs: Inputs) -> dict[str, np.ndarray]:
    """Standard deviation of each channel that the named layers put out, on these inputs."""
    tensors = constant_tensors(packed.network())
    moments = _moments(packed.graph, tensors, inputs, names)
    return {name: found.spread for name, found in moments.items()}


def scaled_channels(packed: Packed, name: str, scale: np.ndarray) -> Packed:
    """The network in which a layer's output channels (weights and bias) are multiplied.

    A layer whose weights cannot be scaled channel by channel stays as it is.
    """
    node = next(node for node in packed.graph.nodes if node.name == name)
    weights = _scaled(packed.forms[node.inputs[1]], scale)
    if weights is None:
        return packed
    changed = {node.inputs[1]: weights}
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = packed.forms[node.inputs[2]]
        changed[node.inputs[2]] = _moved(bias, bias.dense() * scale)
    return packed.with_forms(changed)


def with_bias(packed: Packed, index: int) -> tuple[Packed, str]:
    """The network in which a layer has a bias of its own."""
    graph = packed.graph
    node = graph.nodes[index]
    old_name = node.inputs[2] if len(node.inputs) > 2 else ""
    if old_name and sum(n.inputs.count(old_name) for n in graph.nodes) == 1:
        return packed, old_name
    channels = graph.tensors[node.inputs[1]][0]
    stem = node.inputs[1].removesuffix(".weight")
    name = next(
        n
        for n in (f"{stem}.bias", *(f"{stem}.bias{k}" for k in range(1, 1_000_000)))
        if n not in graph.tensors
    )
    old = packed.forms[old_name].dense() if old_name else np.zeros(channels, np.float32)
    nodes = list(graph.nodes)
    nodes[index] = Node(node.op, node.name, (*node.inputs[:2], name), node.outputs, node.attributes)
    tensors = {**graph.tensors, name: (channels,)}
    forms = {**packed.forms, name: Dense(old)}
    graph = replace(graph, nodes=tuple(nodes), tensors=tensors)
    return replace(packed, graph=graph, forms=forms), name
