"""Accuracy, fidelity, speed and memory of a network, measured on the engine."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reticule.data import Data
from reticule.engine import Model
from reticule.errors import DataError, ModelError
from reticule.evaluation.fidelity import Comparison, Fidelity, worst_error
from reticule.evaluation.inputs import Inputs
from reticule.evaluation.task import classes_of, is_classified, scores_axis

BATCH = 128
TIMED_IMAGES = 100


@dataclass(frozen=True)
class Evaluation:
    """What ``reticule eval`` reports.  Accuracies are in percent, of ``n`` inputs.

    ``accuracy`` is None without labels for a classifier, ``top5`` also with ten classes or fewer.
    ``fidelity`` compares outputs with those of another network, where one was given.
    ``ms_per_image`` is the median of single inputs, ``peak_rss_mib`` the largest memory of the
    whole process so far.
    """

    accuracy: float | None
    top5: float | None
    n: int
    ms_per_image: float
    peak_rss_mib: float
    fidelity: tuple[Fidelity, ...] = ()

    @property
    def error_percent(self) -> float | None:
        """The error of the worst output, in percent; None where it is not finite, or not known."""
        error = worst_error(self.fidelity)
        return error if error is not None and math.isfinite(error) else None

    def to_json(self) -> dict[str, Any]:
        plain = asdict(self)
        del plain["fidelity"]
        known = {name: value for name, value in plain.items() if value is not None}
        if not self.fidelity:
            return known
        fidelity = [each.to_json() for each in self.fidelity]
        return {**known, "error_percent": self.error_percent, "fidelity": fidelity}


def evaluate(model: Model, data: Data, against: Model | None = None) -> Evaluation:
    """Run all of ``data``, which must carry its preprocessing, through a model.

    With ``against``, another network with the same inputs and outputs, answers are compared with
    its answers.  Raises DataError where the data does not fit; without ``against`` also where
    there are no labels, or the network has no score for each class.
    """
    data = data.fitted(model.graph.inputs, classes_of(model.graph) or None, model.labels)
    if against is None:
        check_classified(model, data)
    return run(model, data, against)


def check_classified(model: Model, data: Data) -> None:
    """Raise DataError where there is no accuracy to be measured."""
    if classes_of(model.graph) < 2:
        raise DataError(
            f"{data.name}: the network's first output is no list of scores, one for each class, "
            "so there is no accuracy; compare it with the original instead (--against)"
        )
    if not data.labelled:
        raise DataError(
            f"{data.name}: has no labels, so there is no accuracy; give labelled images, or "
            "compare the network with the original (--against)"
        )


def run(model: Model, data: Inputs, against: Model | None = None) -> Evaluation:
    """As :func:`evaluate`, for inputs that are known to fit."""
    if against is not None:
        check_alike(model, against)
    counter = Counter(classes_of(model.graph)) if is_classified(model.graph, data) else None
    compared = [Comparison(n, scores_axis(model.graph, n)) for n in model.graph.outputs]
    done = 0
    for inputs in data.input_batches(BATCH):
        answer = as_tuple(model(*inputs))
        if counter is not None:
            counter.add(first_output(answer), data.labels[done : done + len(inputs[0])])
        if against is not None:
            for one, exact, found in zip(compared, as_tuple(against(*inputs)), answer, strict=True):
                one.add(exact, found)
        done += len(inputs[0])
    return Evaluation(
        counter.accuracy if counter else None,
        counter.top5 if counter else None,
        done,
        milliseconds(model, data),
        peak_rss_mib(),
        tuple(one.result() for one in compared) if against else (),
    )


def check_alike(model: Model, against: Model) -> None:
    """Raise ModelError where two networks cannot be compared."""
    kinds = ("inputs", "outputs")
    for kind, mine, other in zip(kinds, _shapes(model), _shapes(against), strict=True):
        if mine != other:
            raise ModelError(
                f"the two networks have other {kind}, of shapes {_listed(mine)} and "
                f"{_listed(other)}; compare a file with the network that it was made from"
            )


def _shapes(model: Model) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    shapes = model.graph.shapes()
    return (
        [tuple(shape) for shape in model.graph.inputs.values()],
        [tuple(shapes[name][1:]) for name in model.graph.outputs],
    )


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))


class Counter:
    """Counts right answers, batch by batch."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._right = self._right5 = self._count = 0

    def add(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Scores (n, classes) and labels (n,)."""
        self._count += len(labels)
        self._right += int((scores.argmax(1) == labels).sum())
        if self._classes > 10:
            best = np.argpartition(-scores, 5, axis=1)[:, :5]
            self._right5 += int((best == labels[:, None]).any(1).sum())

    @property
    def accuracy(self) -> float:
        """Percent correct."""
        return 100.0 * self._right / max(self._count, 1)

    @property
    def top5(self) -> float | None:
        """Percent with the label among the best five; None with ten classes or fewer."""
        return 100.0 * self._right5 / max(self._count, 1) if self._classes > 10 else None


def first_output(answer: np.ndarray | tuple[np.ndarray, ...]) -> np.ndarray:
    """The first output as (N, classes)."""
    logits = answer[0] if isinstance(answer, tuple) else answer
    return logits.reshape(len(logits), -1)


def as_tuple(answer: np.ndarray | tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """All outputs of a model, also where there is only one."""
    return answer if isinstance(answer, tuple) else (answer,)


def milliseconds(model: Model, data: Inputs) -> float:
    """Median time of one input at a time, after a warm-up of a tenth as many."""
    count = min(TIMED_IMAGES, len(data))
    times = []
    for index in [0] * (count // 10) + list(range(count)):
        inputs = data.inputs([index])
        start = time.perf_counter()
        model(*inputs)
        times.append(time.perf_counter() - start)
    return 1000.0 * float(np.median(times[count // 10 :]))


def peak_rss_mib() -> float:
    """Largest resident memory of this process so far, in MiB (0 where not available)."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024.0 if sys.platform != "darwin" else peak / 1024.0**2
