"""Batch-norm folding: per-channel scales and shifts move into the layer in front of them.

At inference a batch normalisation multiplies each channel by a number and adds
another.  Behind a convolution or a linear layer that is the same as another weight
and bias, so the node can go (S. Ioffe and C. Szegedy, "Batch Normalization", 2015,
arXiv:1502.03167, note in passing that the bias before it is redundant).  The same
holds for a multiplication or an addition of one constant per channel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from reticule.graph.network import Network, Node
from reticule.graph.shapes import Shape
from reticule.graph.trimming import trimmed


def fold_batch_norm(network: Network) -> Network:
    """The same function with fewer nodes: affine steps folded into the layer before them.

    A batch normalisation that follows anything but a Conv or Gemm of its own stays as it is
    (as in pre-activation networks).  A layer without a bias gets one, called after its weight.
    A tensor that other nodes use too is copied, never changed.

    >>> from reticule.graph import Graph, Network, Node
    >>> ones, zeros = np.ones(1, "f4"), np.zeros(1, "f4")
    >>> tensors = {"conv.weight": np.ones((1, 1, 1, 1), "f4"), "scale": 3 * ones, "shift": ones,
    ...            "mean": zeros, "var": ones}
    >>> graph = Graph({"x": (1, 2, 2)}, ("y",), (
    ...     Node("Conv", "conv", ("x", "conv.weight"), ("h",)),
    ...     Node("BatchNormalization", "bn", ("h", "scale", "shift", "mean", "var"), ("y",)),
    ... ), {name: t.shape for name, t in tensors.items()})
    >>> folded = fold_batch_norm(Network(graph, tensors))
    >>> [node.op for node in folded.graph.nodes], sorted(folded.tensors)
    (['Conv'], ['conv.bias', 'conv.weight'])
    """
    shapes = network.graph.shapes(batch=2)
    readers = Counter(name for node in network.graph.nodes for name in node.inputs)
    readers.update(network.graph.outputs)
    layers: dict[str, _Layer] = {}
    places: dict[str, int] = {}
    nodes: list[Node] = []
    for node in network.graph.nodes:
        value = _image_input(node, network.tensors)
        layer = layers.get(value)
        step = _affine(node, value, network.tensors, shapes) if layer else None
        if layer is not None and step is not None and readers[value] == 1:
            layer = layer.then(*step)
            place = places.pop(value)
            nodes[place] = replace(nodes[place], outputs=node.outputs)
        else:
            layer = _layer(node, network.tensors, shapes)
            place = len(nodes)
            nodes.append(node)
        if layer is not None:
            layers[node.outputs[0]], places[node.outputs[0]] = layer, place
    return _written(network, nodes, {places[n]: layers[n] for n in places}, readers)


@dataclass(frozen=True)
class _Layer:
    """What a layer's outputs are multiplied by and what is added to them, one per channel."""

    scale: np.ndarray
    shift: np.ndarray
    changed: bool = False

    def then(self, scale: np.ndarray, shift: np.ndarray) -> _Layer:
        return _Layer(self.scale * scale, self.shift * scale + shift, True)


def _layer(
    node: Node, tensors: Mapping[str, np.ndarray], shapes: Mapping[str, Shape]
) -> _Layer | None:
    """A Conv or Gemm with constant weights, whose channels are the output's axis 1."""
    if node.op not in ("Conv", "Gemm") or any(n and n not in tensors for n in node.inputs[1:]):
        return None
    if node.op == "Gemm" and len(shapes[node.outputs[0]]) != 2:
        return None
    channels = tensors[node.inputs[1]].shape[0]
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    shift = tensors[bias].astype("f8") if bias else np.zeros(channels)
    return _Layer(np.ones(channels), shift)


def _image_input(node: Node, tensors: Mapping[str, np.ndarray]) -> str:
    """The one input of an affine step that is no tensor, "" if there is none."""
    if node.op not in ("BatchNormalization", "Add", "Sub", "Mul", "Div"):
        return ""
    images = [name for name in node.inputs if name not in tensors]
    return images[0] if len(images) == 1 else ""


def _affine(
    node: Node, value: str, tensors: Mapping[str, np.ndarray], shapes: Mapping[str, Shape]
) -> tuple[np.ndarray, np.ndarray] | None:
    """The (scale, shift) per channel that a node applies, None if it does anything else."""
    channels = shapes[value][1]
    if node.op == "BatchNormalization":
        gamma, beta, mean, var = (tensors[name].astype("f8") for name in node.inputs[1:])
        with np.errstate(all="ignore"):
            scale = gamma / np.sqrt(var + float(node.settings["epsilon"]))  # type: ignore[arg-type]
        return _finite(scale, beta - mean * scale)
    name = next(n for n in node.inputs if n != value)
    number = _per_channel(tensors[name].astype("f8"), len(shapes[value]), channels)
    if number is None or shapes[node.outputs[0]] != shapes[value]:
        return None
    ones, zeros = np.ones(channels), np.zeros(channels)
    first = node.inputs[0] == value
    if node.op == "Add":
        return ones, number
    if node.op == "Sub":
        return (ones, -number) if first else (-ones, number)
    if node.op == "Mul":
        return number, zeros
    with np.errstate(all="ignore"):
        return _finite(1 / number, zeros) if first else None


def _finite(scale: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    return (scale, shift) if np.isfinite(scale).all() and np.isfinite(shift).all() else None


def _per_channel(tensor: np.ndarray, rank: int, channels: int) -> np.ndarray | None:
    """The tensor as one number per channel (axis 1 of ``rank``), None if it varies otherwise."""
    if tensor.ndim > rank:
        return None
    aligned = tensor.reshape((1,) * (rank - tensor.ndim) + tensor.shape)
    if aligned.size != aligned.shape[1] or aligned.shape[1] not in (1, channels):
        return None
    return np.broadcast_to(aligned.reshape(-1), (channels,))


def _written(
    network: Network, nodes: list[Node], layers: Mapping[int, _Layer], readers: Counter[str]
) -> Network:
    """The network with the changed layers' weights and biases."""
    tensors = dict(network.tensors)
    taken = set(network.graph.shapes())
    for place, layer in layers.items():
        if not layer.changed:
            continue
        node = nodes[place]
        weight = node.inputs[1]
        scale = layer.scale.reshape(-1, *(1,) * (tensors[weight].ndim - 1))
        values = (network.tensors[weight] * scale).astype("f4")
        name = weight if readers[weight] == 1 else _fresh(weight, taken)
        bias = node.inputs[2] if len(node.inputs) > 2 else ""
        if not bias:
            bias = _fresh(f"{weight.removesuffix('.weight')}.bias", taken)
        elif readers[bias] > 1:
            bias = _fresh(bias, taken)
        tensors[name], tensors[bias] = values, layer.shift.astype("f4")
        nodes[place] = replace(node, inputs=(node.inputs[0], name, bias))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    graph = replace(network.graph, nodes=tuple(nodes), tensors=shapes)
    return trimmed(Network(graph, tensors)).check()


def _fresh(base: str, taken: set[str]) -> str:
    name, count = base, 1
    while name in taken:
        name, count = f"{base}_{count}", count + 1
    taken.add(name)
    return name
