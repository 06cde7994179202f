"""Layer by layer through a network, each treated for the inputs that it really gets.

Two networks run side by side on the calibration inputs: the original, and the one whose
layers up to here are treated: quantised, pruned.  See :class:`.layer.Layer` for what both
know of a layer.  After a layer has its new weights, its bias takes what is left of the shift
of each channel's mean.

Both run from one treated layer to the next, batch by batch, and only what is alive there is
kept: see :mod:`.segments`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from reticule.forms import Form, Packed
from reticule.graph import Graph, Node
from reticule.methods.layerwise.layer import Layer, Matrix, Streams
from reticule.methods.layerwise.segments import Flow
from reticule.progress import Bar, Progress
from reticule.tuning.evidence import distinct
from reticule.tuning.moments import with_bias
from reticule.tuning.problem import constant_tensors
from reticule.tuning.running import Inputs

LEAST_COLUMNS = 64  # a layer as narrow as that gets no bias that it did not have

"""One array (n, ...) for each input of a network, in its order."""
Treatment = Callable[[Layer], Mapping[str, Form]]
"""New forms of a layer's weights and, where it has one, of its bias."""
BiasForm = Callable[[Matrix], Form]
"""How a bias is stored."""


@torch.no_grad()
def walk(
    packed: Packed,
    chosen: Collection[str],
    inputs: Inputs | np.ndarray,
    treat: Treatment,
    progress: Progress,
    *,
    title: str,
    bias_form: BiasForm | None = None,
    sums: bool = False,
    images: int | None = None,
    bar: Bar | None = None,
) -> Packed:
    """The network with the layers of the tensors in ``chosen`` treated.

    ``inputs`` are preprocessed: one array (n, ...) for each input of the network.  With
    ``bias_form`` biases are corrected.  With ``sums`` the later one of two values that are
    added makes up for the errors of the other.  ``images`` is how many inputs the
    statistics count as (None: those that differ).  Steps go to ``bar``, if it runs already.
    """
    if isinstance(inputs, np.ndarray):
        inputs = (inputs,)
    if bar is None:
        with progress.bar(title, len(chosen)) as own:
            return walk(
                packed, chosen, inputs, treat, progress, title=title, bias_form=bias_form,
                sums=sums, images=images, bar=own,
            )  # fmt: skip
    graph = packed.graph
    images = distinct(inputs) if images is None else images
    tensors = constant_tensors(packed.network())
    flow = Flow(graph, tensors, inputs)
    forms: dict[str, Form] = {}
    done: set[str] = set()
    for i, node in enumerate(graph.nodes):
        weight = node.inputs[1] if node.op in ("Conv", "Gemm") else ""
        if weight not in chosen or weight in done:
            continue
        flow.advance(i)
        layer = _layer(flow, node, sums, images)
        made = treat(layer)
        for name, form in made.items():
            forms[name] = form
            flow.change(name, _tensor(form))
        if layer.bias and bias_form is not None and made:
            bias = tensors[layer.bias].double().numpy()
            new = forms[weight].dense().astype(np.float64)
            forms[layer.bias] = bias_form(layer.corrected(bias, new))
            flow.change(layer.bias, _tensor(forms[layer.bias]))
        done.add(weight)
        bar.advance(1, weight)
    return packed.with_forms(forms)


def _tensor(form: Form) -> Tensor:
    return torch.from_numpy(np.array(form.dense(), np.float32))


def _layer(flow: Flow, node: Node, sums: bool, images: int) -> Layer:
    """The layer of a node that both networks have come to."""
    source = node.inputs[0]
    beside = _beside(flow.graph, node, flow.alive) if sums else ""
    names = [name for name in (source, beside) if name]
    if source in flow.graph.tensors:  # the same whatever the images are
        constant: Streams = {source: [flow.tensors[source]]}
        return Layer(flow.graph, node, flow.tensors, constant, constant)
    then = flow.values(names, flow.then)
    now = then if flow.then is flow.now else flow.values(names, flow.now)
    return Layer(flow.graph, node, flow.tensors, then, now, beside, images)


def _beside(graph: Graph, node: Node, alive: Collection[str]) -> str:
    """The value that a layer's output is added to, if it is there already and nothing else is."""
    output = node.outputs[0]
    users = [n for n in graph.nodes if output in n.inputs]
    if len(users) != 1 or users[0].op != "Add" or output in graph.outputs:
        return ""
    other = next((name for name in users[0].inputs if name != output), "")
    shapes = graph.shapes()
    same = other in alive and shapes.get(other) == shapes[output]
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
