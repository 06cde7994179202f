"""Layer by layer through a network, each treated for the inputs that it really gets.

Two networks run side by side on the calibration images: the original, and the one whose
layers up to here are treated: quantised, pruned.  See :class:`.layer.Layer` for what both
know of a layer.  After a layer has its new weights, its bias takes what is left of the shift
of each channel's mean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from reticule.forms import Form, Packed
from reticule.graph import Graph, Node
from reticule.methods.layerwise.layer import Layer, Streams
from reticule.progress import Progress
from reticule.tuning.executor import EXECUTORS
from reticule.tuning.moments import with_bias
from reticule.tuning.problem import as_input, constant_tensors

BATCH = 64
LEAST_COLUMNS = 64  # a layer as narrow as that gets no bias that it did not have

Treatment = Callable[[Layer], Mapping[str, Form]]
"""New forms of a layer's weights and, where it has one, of its bias."""
BiasForm = Callable[[np.ndarray], Form]
"""How a bias is stored."""


@torch.no_grad()
def walk(
    packed: Packed,
    chosen: Collection[str],
    inputs: tuple[np.ndarray, ...],
    treat: Treatment,
    progress: Progress,
    *,
    title: str,
    bias_form: BiasForm | None = None,
    sums: bool = False,
) -> Packed:
    """The network with the layers of the tensors in ``chosen`` treated.

    ``inputs`` are prepared, one array for each of the network's.  With ``bias_form`` biases
    are corrected.  With ``sums`` the later one of two values that are added makes up for the
    errors of the other.
    """
    graph = packed.graph
    tensors = constant_tensors(packed.network())
    then: Streams = {
        name: [as_input(part[i : i + BATCH]) for i in range(0, len(part), BATCH)]
        for name, part in zip(graph.inputs, inputs, strict=True)
    }
    now: Streams = dict(then)
    forms: dict[str, Form] = {}
    changed = dict(tensors)
    last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    with progress.bar(title, len(chosen)) as bar:
        for i, node in enumerate(graph.nodes):
            weight = node.inputs[1] if node.op in ("Conv", "Gemm") else ""
            if weight in chosen and weight not in forms:
                beside = _beside(graph, node, now) if sums else ""
                layer = Layer(graph, node, tensors, then, now, beside)
                for name, form in treat(layer).items():
                    forms[name], changed[name] = form, torch.from_numpy(np.array(form.dense()))
                if then.get(node.inputs[0]) is not None:
                    _run(node, tensors, then)
                    _run(node, changed, now)
                    if layer.bias and bias_form is not None:
                        bias = layer.bias
                        form = bias_form(layer.corrected(changed[bias].double().numpy()))
                        new = torch.from_numpy(np.array(form.dense()))
                        _shift(node, now, new - changed[bias])
                        forms[bias], changed[bias] = form, new
                bar.advance(1, weight)
            else:
                _run(node, tensors, then)
                _run(node, changed, now)
            for name in set(node.inputs):
                if name and last_use[name] == i and name not in graph.outputs:
                    then.pop(name, None), now.pop(name, None)
    return packed.with_forms(forms)


def _run(node: Node, tensors: Mapping[str, Tensor], streams: Streams) -> None:
    """One operator on all batches."""
    some = next((n for n in node.inputs if n in streams), None)
    count = len(streams[some]) if some else 1
    streams[node.outputs[0]] = [
        EXECUTORS[node.op](
            [None if not n else streams[n][b] if n in streams else tensors[n] for n in node.inputs],
            node.settings,
        )
        for b in range(count)
    ]


def _shift(node: Node, streams: Streams, by: Tensor) -> None:
    shape = (-1, 1, 1) if node.op == "Conv" else (-1,)
    name = node.outputs[0]
    streams[name] = [y + by.reshape(shape) for y in streams[name]]


def _beside(graph: Graph, node: Node, streams: Streams) -> str:
    """The value that a layer's output is added to, if it is there already and nothing else is."""
    output = node.outputs[0]
    users = [n for n in graph.nodes if output in n.inputs]
    if len(users) != 1 or users[0].op != "Add" or output in graph.outputs:
        return ""
    other = next((name for name in users[0].inputs if name != output), "")
    shapes = graph.shapes()
    same = other in streams and shapes.get(other) == shapes[output]
    return other if same else ""


def with_biases(packed: Packed, names: Sequence[str]) -> Packed:
    """A bias for every layer that is wide enough: it can take a shift of the mean."""
    for node, weight in list(packed.graph.weights()):
        columns = int(np.prod(packed.graph.tensors[weight][1:]))
        own = len(node.inputs) > 2 and node.inputs[2] in packed.graph.tensors
        free = len(node.inputs) < 3 or not node.inputs[2] or own
        if weight in names and free and (own or columns >= LEAST_COLUMNS):
            index = next(i for i, n in enumerate(packed.graph.nodes) if n.name == node.name)
            packed = with_bias(packed, index)[0]
    return packed
