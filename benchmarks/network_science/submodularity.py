"""Is accuracy submodular in the set of neurons that are kept?  Random sets say how nearly."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from network_science.neurons import Subject
from reticule.forms import channels_of
from reticule.graph import Node
from reticule.methods.diversity.readers import Seen, reads, reconstruction, refitted, seen, streams
from reticule.methods.diversity.select_units import SelectUnits
from reticule.methods.layerwise.walk import with_biases
from reticule.science.curvature import SetFunction, diminishing
from reticule.tuning.executor import EXECUTORS
from reticule.tuning.problem import constant_tensors

LAYERS = {  # by the number of the weighted layer that makes the units
    "lenet300100": {0: "300 neurons", 1: "100 neurons"},
    "lenet5": {1: "50 channels", 2: "500 neurons"},
    "resnet20": {-3: "64 channels inside the last block"},
}
FUNCTIONS = ("restored outputs", "-loss, refit", "-loss", "accuracy, refit", "accuracy")
COLUMNS = (
    "units", "triples", "violations", "rate", "low", "high", "shrunk", "mean", "worst",
    "negative", "span", "curvature", "generalised", "ratio", "usual_ratio", "seed", "seconds",
)  # fmt: skip
IMAGES, TRIPLES, RIDGE = 512, 1000, SelectUnits().ridge


class Units:
    """The units that a layer makes, seen by the one layer that reads them, on training images.

    Only what comes behind them is computed again for each set: what comes before stays.
    """

    def __init__(self, subject: Subject, number: int) -> None:
        nodes = [node for node, _ in subject.start.graph.weights()]
        packed = with_biases(subject.start, [n for _, n in subject.start.graph.weights()])
        channels = channels_of(packed)
        self.units = channels.tensors[nodes[number].inputs[1], 0]
        data = subject.images("train")
        drawn = np.sort(np.random.default_rng(0).permutation(len(data))[:IMAGES])
        images = data.batch(drawn)
        self.labels = torch.from_numpy(np.asarray(data.labels)[drawn].astype(np.int64))
        (name,) = reads(channels, self.units)
        place = next(i for i, n in enumerate(packed.graph.nodes) if name in n.inputs)
        self.node = packed.graph.nodes[place]
        behind = packed.graph.nodes[place:]
        made = {node.outputs[0] for node in behind}
        needed = {
            x for node in behind for x in node.inputs if x and x not in made | set(packed.forms)
        }
        values = streams(packed, (images,), sorted(needed))
        self.values = {name: torch.cat(parts) for name, parts in values.items()}
        (self.reader,) = seen(packed, channels, self.units, packed, values, values, ())
        self.graph, self.tensors = packed.graph, constant_tensors(packed.network())
        self.behind = behind
        self._known: dict[tuple[bool, bytes], tuple[float, float]] = {}

    def function(self, name: str) -> SetFunction:
        """One of FUNCTIONS; values of the same sets are computed once for loss and accuracy."""
        if name == "restored outputs":
            return reconstruction([self.reader], self.units.size, RIDGE).joint
        refit, which = name.endswith("refit"), int(name.startswith("accuracy"))
        return lambda items: self._judged(items, refit)[which]

    def _judged(self, items: np.ndarray, refit: bool) -> tuple[float, float]:
        key = refit, items.astype(np.int16).tobytes()
        if key not in self._known:
            self._known[key] = self._measured(items, refit)
        return self._known[key]

    @torch.no_grad()
    def _measured(self, items: np.ndarray, refit: bool) -> tuple[float, float]:
        """Minus the mean cross entropy, and percent right."""
        weights, bias = kept(self.reader, items, refit)
        columns = np.isin(self.reader.units, items)
        answers = self._answers(weights, bias, columns)
        right = float((answers.argmax(1) == self.labels).float().mean())
        return -float(F.cross_entropy(answers.double(), self.labels)), 100 * right

    def _answers(self, weights: np.ndarray, bias: np.ndarray, columns: np.ndarray) -> torch.Tensor:
        """Of the network behind the units; the reader skips what is not kept."""
        name, values = self.node.inputs[0], dict(self.values)
        if not columns.any():  # PyTorch has no convolution of nothing
            columns = np.ones_like(columns)
            weights = np.zeros_like(weights)
        taps = int(np.prod(self.graph.tensors[self.node.inputs[1]][2:]))
        inputs = torch.from_numpy(np.flatnonzero(columns[::taps]))
        shape = (len(weights), inputs.numel(), *self.graph.tensors[self.node.inputs[1]][2:])
        chosen = torch.from_numpy(weights[:, columns].reshape(shape).astype(np.float32))
        tensors = {**self.tensors, **values}
        tensors[name] = values[name].index_select(1, inputs)
        tensors[self.node.inputs[1]] = chosen
        tensors[self.node.inputs[2]] = torch.from_numpy(bias.astype(np.float32))
        return run(self.behind, tensors, self.graph.outputs[0])


def run(nodes: Sequence[Node], values: dict[str, torch.Tensor], output: str) -> torch.Tensor:
    for node in nodes:
        ins = [values[name] if name else None for name in node.inputs]
        values[node.outputs[0]] = EXECUTORS[node.op](ins, node.settings)
    return values[output].flatten(1)


def kept(reader: Seen, items: np.ndarray, refit: bool) -> tuple[np.ndarray, np.ndarray]:
    """Weights (outputs, columns) and bias of the reader where only these units are there."""
    if not refit:
        return reader.weights[0], reader.bias
    weights = refitted(reader, items, RIDGE)
    return weights[0], reader.bias + reader.shift(weights)


def rows(shared: Path) -> Iterator[tuple[tuple[str, str, str], dict[str, object]]]:
    torch.set_num_threads(1)
    for network, layers in LAYERS.items():
        subject = Subject(network, shared)
        for number, title in layers.items():
            units = Units(subject, number)
            for name in FUNCTIONS:
                start = time.process_time()
                found = diminishing(units.function(name), units.units.size, TRIPLES)
                seconds = time.process_time() - start
                values = {**asdict(found), "units": units.units.size, "seconds": seconds}
                yield (network, title, name), values
