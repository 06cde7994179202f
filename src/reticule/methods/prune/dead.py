"""Dead units: neurons and filters that nothing feeds, or that feed nothing.

A unit whose weights are all zero puts out a constant.  Where the next layer sees that
constant everywhere (not at a padded border), its share of the next layer's sums is a
constant too and moves into the bias, exactly; then nothing reads the unit any more.  A unit
that nothing reads needs neither weights nor bias.  Both follow channels through activations,
pooling, flattening and sums; through other operators every channel counts as alive.

Source: Han, Pool, Tran, Dally, NIPS 2015, section 3.5, where training drives such
units to zero by itself; here it is done at once and without changing an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

import numpy as np
import torch

from reticule.forms import Dense, Form, Packed, Sparse
from reticule.graph import Node
from reticule.graph.shapes import Shape
from reticule.tuning.executor import EXECUTORS
from reticule.tuning.moments import with_bias

POINTWISE = frozenset(
    ("Relu", "LeakyRelu", "Elu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Identity")
)
POOLS = frozenset(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"))
ROUNDS = 100


def without_dead_units(packed: Packed, names: Iterable[str]) -> tuple[Packed, int]:
    """The same network without the weights of dead units, and how many units are dead.

    Only tensors in ``names`` lose weights; their forms must be dense or sparse with
    dense values, and stay so.  Biases of dead units become zero.

    >>> from reticule.graph import Graph, Network
    >>> first = Node("Gemm", "one", ("x", "a", "c"), ("h",))
    >>> second = Node("Gemm", "two", ("h", "b", "d"), ("y",))
    >>> tensors = {"a": [[0, 0], [1, 2]], "c": [3, 0], "b": [[2, 1]], "d": [1]}
    >>> tensors = {name: np.array(values, "f4") for name, values in tensors.items()}
    >>> shapes = {name: values.shape for name, values in tensors.items()}
    >>> graph = Graph({"x": (2,)}, ("y",), (first, second), shapes)
    >>> packed, dead = without_dead_units(Packed.of(Network(graph, tensors)), ["a", "b"])
    >>> dead, packed.forms["b"].dense().tolist(), packed.forms["d"].dense().tolist()
    (1, [[0.0, 1.0]], [7.0])
    """
    names = _owned(packed, names)
    for _ in range(ROUNDS):
        before = _count(packed, names)
        packed = _without_constant_inputs(packed, names)
        packed, dead = _without_unread_outputs(packed, names)
        if _count(packed, names) == before:
            break
    return packed, dead


def _owned(packed: Packed, names: Iterable[str]) -> frozenset[str]:
    """Those of the tensors that one node uses, once."""
    uses = [name for node in packed.graph.nodes for name in node.inputs]
    return frozenset(name for name in names if uses.count(name) == 1)


def _count(packed: Packed, names: Iterable[str]) -> int:
    return sum(packed.forms[name].nonzero for name in names)


def _is_layer(node: Node, shapes: Mapping[str, Shape], packed: Packed) -> bool:
    """Whether channels can be followed through a convolution or linear layer."""
    plain = len(shapes[node.inputs[0]]) == (4 if node.op == "Conv" else 2)
    return node.op in ("Conv", "Gemm") and plain and node.inputs[1] in packed.forms


def _without_constant_inputs(packed: Packed, names: frozenset[str]) -> Packed:
    """Weights of constant inputs become part of the bias, layer after layer."""
    shapes = packed.graph.shapes()
    constants: dict[str, np.ndarray] = {}  # of each channel, NaN where it is none
    for index in range(len(packed.graph.nodes)):
        node = packed.graph.nodes[index]
        found: np.ndarray | None
        if _is_layer(node, shapes, packed):
            if node.inputs[1] in names and node.inputs[0] in constants:
                packed = _folded(packed, index, constants[node.inputs[0]])
            node = packed.graph.nodes[index]
            found = _constant_rows(packed, node)
        else:
            found = _passed_on(node, constants, shapes)
        if found is not None and not np.isnan(found).all():
            constants[node.outputs[0]] = found
    return packed


def _constant_rows(packed: Packed, node: Node) -> np.ndarray:
    """The bias of channels without weights, NaN for others."""
    weights = packed.forms[node.inputs[1]].dense()
    dead = (
        ~weights.reshape(len(weights), -1).any(1) if weights.size else np.ones(len(weights), bool)
    )
    bias = np.zeros(len(weights), np.float32)
    if len(node.inputs) > 2 and node.inputs[2]:
        if node.inputs[2] not in packed.forms:
            return np.full(len(weights), np.nan, np.float32)
        bias = packed.forms[node.inputs[2]].dense()
    return np.where(dead, bias, np.float32(np.nan))


def _passed_on(
    node: Node, constants: Mapping[str, np.ndarray], shapes: Mapping[str, Shape]
) -> np.ndarray | None:
    """What is constant behind an operator without weights."""
    ins = [constants.get(name) for name in node.inputs]
    if not ins or any(values is None for values in ins):
        return None
    values, *others = (np.asarray(each) for each in ins)
    out = shapes[node.outputs[0]]
    if node.op in POINTWISE:
        got = EXECUTORS[node.op]([torch.from_numpy(values)], node.settings).numpy()
        return np.where(np.isnan(values), values, got)
    if node.op in POOLS:  # an average over a padded border is another constant
        return np.where(values == 0, values, np.nan) if node.op == "AveragePool" else values
    if _flattens(node, shapes):
        return np.repeat(values, out[1] // len(values))
    if node.op == "Add" and _alike(node, shapes):
        return values + others[0]
    return None


def _folded(packed: Packed, index: int, constants: np.ndarray) -> Packed:
    """The layer without the weights of its constant inputs, where that is exact."""
    node = packed.graph.nodes[index]
    form = packed.forms[node.inputs[1]]
    weights = form.dense()
    gone = constants == 0
    if node.op == "Gemm" or not np.any(node.settings["pads"]):
        gone |= ~np.isnan(constants)
    gone = _by_input(gone, weights.shape, node) & (weights != 0)
    values = _by_input(np.where(np.isnan(constants), 0.0, constants), weights.shape, node)
    rest = (gone * values.astype(np.float64) * weights).reshape(len(weights), -1).sum(1)
    if rest.any():
        packed, name = with_bias(packed, index)
        bias = packed.forms[name]
        if _free(bias) is None:
            return packed
        packed = packed.with_forms({name: _like(bias, (bias.dense() + rest).astype(np.float32))})
    return packed.with_forms({node.inputs[1]: _like(form, np.where(gone, 0, weights))})


def _without_unread_outputs(packed: Packed, names: frozenset[str]) -> tuple[Packed, int]:
    """Units that nothing reads lose their weights; also how many these are."""
    graph, shapes = packed.graph, packed.graph.shapes()
    read = {name: np.zeros(shapes[name][1], bool) for name in shapes if len(shapes[name]) > 1}
    for name in read.keys() & set(graph.outputs):
        read[name] |= True
    dead = 0
    changed: dict[str, Form] = {}
    for node in reversed(graph.nodes):
        out = read.get(node.outputs[0])
        if out is None or not _is_layer(node, shapes, packed):
            _read_through(node, out, read, shapes)
            continue
        form = packed.forms[node.inputs[1]]
        weights = form.dense()
        if node.inputs[1] in names and not out.all():
            weights = weights * out.reshape(-1, *[1] * (weights.ndim - 1))
            dead += int(np.count_nonzero(~out))
            changed[node.inputs[1]] = _like(form, weights)
            changed.update(_silenced(packed, node, out))
        read[node.inputs[0]] |= _inputs_used(weights * _column(out, weights.ndim), node, shapes)
    return packed.with_forms(changed), dead


def _read_through(
    node: Node, out: np.ndarray | None, read: dict[str, np.ndarray], shapes: Mapping[str, Shape]
) -> None:
    """Mark the channels that an operator without weights reads."""
    for name in node.inputs:
        if name not in read:
            continue
        if out is not None and (
            node.op in POINTWISE | POOLS or (node.op == "Add" and _alike(node, shapes))
        ):
            read[name] |= out
        elif out is not None and _flattens(node, shapes):
            read[name] |= out.reshape(shapes[name][1], -1).any(1)
        else:
            read[name] |= True


def _silenced(packed: Packed, node: Node, out: np.ndarray) -> dict[str, Form]:
    """The layer's own bias, zero where nothing reads it."""
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    if name not in packed.forms or not _owned(packed, [name]):
        return {}
    form = packed.forms[name]
    return {} if _free(form) is None else {name: _like(form, form.dense() * out)}


def _column(values: np.ndarray, ndim: int) -> np.ndarray:
    return values.reshape(-1, *[1] * (ndim - 1))


def _by_input(values: np.ndarray, shape: Shape, node: Node) -> np.ndarray:
    """Values of the input channels at each weight of a layer."""
    if node.op == "Gemm":
        return np.broadcast_to(values, shape)
    groups = _groups(node)
    rows = np.repeat(values.reshape(groups, -1), shape[0] // groups, axis=0)
    return np.broadcast_to(rows[:, :, None, None], shape)


def _inputs_used(weights: np.ndarray, node: Node, shapes: Mapping[str, Shape]) -> np.ndarray:
    """Which input channels meet a weight that is not zero."""
    if node.op == "Gemm":
        return np.asarray(weights.any(0))
    used = np.asarray(weights.any((2, 3))).reshape(_groups(node), -1, weights.shape[1])
    return np.asarray(used.any(1)).reshape(shapes[node.inputs[0]][1])


def _groups(node: Node) -> int:
    return int(np.asarray(node.settings["group"]))


def _flattens(node: Node, shapes: Mapping[str, Shape]) -> bool:
    """Whether a node makes one row of features of each image, channel after channel."""
    if node.op not in ("Flatten", "Reshape"):
        return False
    inside, out = shapes[node.inputs[0]], shapes[node.outputs[0]]
    return len(inside) > 1 and len(out) == 2 and out[0] == inside[0] and out[1] == prod(inside[1:])


def _alike(node: Node, shapes: Mapping[str, Shape]) -> bool:
    """Whether nothing is broadcast."""
    return len({shapes[name] for name in node.inputs}) == 1


def _free(form: Form) -> Dense | None:
    """The dense values of a form that can take any, or None."""
    inner = form.values if isinstance(form, Sparse) else form
    return inner if isinstance(inner, Dense) else None


def _like(form: Form, values: np.ndarray) -> Form:
    """Values in a form of the same kind; a sparse one keeps what is not zero."""
    inner = _free(form)
    assert inner is not None
    values = values.astype(inner.values.dtype)
    return (
        Sparse.at(values != 0, Dense(values[values != 0]))
        if isinstance(form, Sparse)
        else Dense(values)
    )
