"""Accuracy, speed and memory of a classifier, measured on the engine."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass

import numpy as np

from reticule.data import Data
from reticule.engine import Model
from reticule.errors import DataError
from reticule.evaluation.inputs import Inputs
from reticule.evaluation.task import classes_of

BATCH = 128
TIMED_IMAGES = 100


@dataclass(frozen=True)
class Evaluation:
    """What ``reticule eval`` reports.  Accuracies are in percent, of ``n`` images.

    ``top5`` is None with ten classes or fewer, ``ms_per_image`` is the median of single
    images, ``peak_rss_mib`` the largest memory of the whole process so far.
    """

    accuracy: float
    top5: float | None
    n: int
    ms_per_image: float
    peak_rss_mib: float

    def to_json(self) -> dict[str, float | int]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def evaluate(model: Model, data: Data) -> Evaluation:
    """Run all images of ``data``, which must carry its preprocessing, through a model.

    Raises DataError where there are no labels, or the network has no score for each class.
    """
    classes = classes_of(model.graph)
    if classes < 2:
        raise DataError(
            f"{data.name}: the network's first output is no list of scores, one for each class, "
            "so there is no accuracy; compare it with another network instead (--against)"
        )
    data = data.fitted(model.graph.inputs, classes, model.labels)
    labels = data.labels
    counter = Counter(classes)
    done = 0
    for inputs in data.input_batches(BATCH):
        answer = model(*inputs)
        counter.add(first_output(answer), labels[done : done + len(inputs[0])])
        done += len(inputs[0])
    return Evaluation(
        counter.accuracy, counter.top5, done, milliseconds(model, data), peak_rss_mib()
    )


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
