"""Units taken away to see what they are for: accuracy, in all and of each class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reticule.data import Data
from reticule.graph import Network
from reticule.science.measures import Whole
from reticule.science.units import Units, wired

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Patient:
    """A network, its units as one list (see :class:`~reticule.science.measures.Whole`), images."""

    network: Network
    whole: Whole
    units: Units
    images: np.ndarray  # preprocessed (n, C, H, W)
    labels: np.ndarray

    @classmethod
    def of(cls, network: Network, whole: Whole, data: Data, count: int, seed: int = 0) -> Patient:
        """With ``count`` random images of the data."""
        order = np.sort(np.random.default_rng(seed).permutation(len(data))[:count])
        images = data.batch(order)
        return cls(network, whole, wired(network.graph), images, np.asarray(data.labels)[order])

    @property
    def hidden(self) -> np.ndarray:
        """Units that some layer makes and some other reads."""
        made = {wiring.rows for wiring in self.units.layers.values()}
        read = {wiring.columns for wiring in self.units.layers.values()}
        inside = [number for number, name in enumerate(self.whole.groups) if name in made & read]
        return np.flatnonzero(np.isin(self.whole.group, inside))

    def without(self, units: np.ndarray) -> Mapping[str, np.ndarray]:
        """The tensors of the network in which no layer reads these units."""
        gone = np.zeros(self.whole.units, bool)
        gone[units] = True
        tensors = dict(self.network.tensors)
        for node, name in self.network.graph.weights():
            wiring = self.units.layers[node.name]
            columns = gone[wiring.column_units + self.whole.first[wiring.columns]]
            if not columns.any():
                continue
            weights = tensors[name].copy()
            groups = int(node.settings["group"]) if node.op == "Conv" else 1  # type: ignore[arg-type]
            parts = weights.reshape(groups, len(weights) // groups, *weights.shape[1:])
            for part, of_group in zip(parts, columns.reshape(groups, -1), strict=True):
                part[:, of_group] = 0
            tensors[name] = weights
        return tensors

    def right(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Which images are classified as they should be (n,)."""
        from reticule.tuning.problem import constant_tensors, predictions

        network = Network(self.network.graph, tensors)
        guesses = predictions(network.graph, constant_tensors(network), (self.images,))
        return guesses == self.labels

    def accuracy(self, units: np.ndarray) -> float:
        """Percent right without some units."""
        return 100 * float(self.right(self.without(units)).mean())

    def by_class(self, units: np.ndarray) -> np.ndarray:
        """Percent right of each class without some units; NaN for classes without images."""
        right = self.right(self.without(units)).astype(np.float64)
        classes = int(self.labels.max(initial=0)) + 1
        count = np.bincount(self.labels, minlength=classes)
        with np.errstate(invalid="ignore"):
            return 100 * np.bincount(self.labels, right, minlength=classes) / count

    def selectivity(self) -> np.ndarray:
        """Mean of each unit's rectified output for each class (units, classes), about its mean.

        In units of its spread between classes' means; zero for units that no layer makes.
        """
        from reticule.tuning.executor import execute
        from reticule.tuning.problem import as_input, constant_tensors

        classes = int(self.labels.max(initial=0)) + 1
        total = np.zeros((self.whole.units, classes))
        layers = {node.outputs[0]: node for node, _ in self.network.graph.weights()}
        tensors = constant_tensors(self.network)
        order = [n.outputs[0] for n in self.network.graph.nodes if n.outputs[0] in layers]
        outputs = len(self.network.graph.outputs)
        for start in range(0, len(self.images), 64):
            some = slice(start, start + 64)
            batch = as_input(self.images[some])
            found = execute(self.network.graph, tensors, batch, watch=frozenset(order))
            for name, value in zip(order, found[outputs:], strict=True):
                wiring = self.units.layers[layers[name].name]
                values = np.maximum(value.detach().numpy(), 0)
                values = values.reshape(*values.shape[:2], -1).mean(2)
                units = wiring.row_units + self.whole.first[wiring.rows]
                for label, row in zip(self.labels[some].tolist(), values, strict=True):
                    np.add.at(total[:, label], units, row)
        mean = total / np.maximum(np.bincount(self.labels, minlength=classes), 1)
        about = mean - mean.mean(1, keepdims=True)
        return about / np.maximum(about.std(1, keepdims=True), 1e-12) * (about.std(1) > 0)[:, None]


def curve(
    patient: Patient, order: np.ndarray, shares: Sequence[float] = SHARES
) -> list[tuple[float, float]]:
    """Accuracy after the first so many of ``order`` are gone: (share, percent)."""
    return [(share, patient.accuracy(order[: round(share * order.size)])) for share in shares]


def alike(
    whole: Whole, units: np.ndarray, among: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Other units at random: as many of each group and of each quarter of its strengths."""
    rank = np.zeros(whole.units, np.int64)
    for number in np.unique(whole.group[among]):
        own = among[whole.group[among] == number]
        order = np.argsort(whole.strengths[own], kind="stable")
        rank[own[order]] = number * 4 + np.arange(own.size) * 4 // max(own.size, 1)
    picked: list[Any] = []
    for bin_, count in zip(*np.unique(rank[units], return_counts=True), strict=True):
        pool = among[rank[among] == bin_]
        picked.append(rng.choice(pool, count, replace=False))
    return np.concatenate([np.zeros(0, np.int64), *picked])


def information(labels: np.ndarray, classes: np.ndarray) -> float:
    """Normalised mutual information of two labellings, 0 to 1 (Strehl and Ghosh, 2002).

    >>> information(np.array([0, 0, 1, 1]), np.array([5, 5, 2, 2]))
    1.0
    """
    _, a = np.unique(labels, return_inverse=True)
    _, b = np.unique(classes, return_inverse=True)
    joint = np.bincount(a * (b.max(initial=0) + 1) + b) / max(a.size, 1)
    entropies = [_entropy(np.bincount(x) / max(x.size, 1)) for x in (a, b)]
    shared = sum(entropies) - _entropy(joint)
    scale = float(np.sqrt(entropies[0] * entropies[1]))
    return round(float(shared / scale), 12) if scale > 0 else 0.0


def _entropy(chances: Iterable[float]) -> float:
    chances = np.asarray(list(chances))
    chances = chances[chances > 0]
    return float(-(chances * np.log(chances)).sum())
