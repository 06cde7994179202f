"""What a compression costs the answers, before it is measured on the decoded file.

The *error* is measured on inputs that nothing was chosen on (:mod:`reticule.tuning.witness`).
How many points of accuracy are lost is guessed, without labels:

If the original network's probabilities can be taken at their word, answer b instead of its
own answer a loses p(a) - p(b) correct answers on average.  Their mean over images is the
expected drop.  On images that the network was trained on it is next to nothing whatever
happens; on mixed images (see :func:`reticule.methods.quantise.calibration.unseen_like`) it is
several times the drop on new images, by a factor that differs little between networks.

A second witness are the training images themselves: an answer that changes on one that the
network knew is a mistake, while on new images some changes put mistakes right.  The
worse of the two guesses counts.

Where the network does not know the images by heart, as its accuracy on them tells, mixed ones
are not that much harder for it, and changed answers are as often right as before; but a test will
count them by chance, so a standard error is added.  Where few are held out, those to calibrate
with are asked as well, each in several blends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reticule.data import Data
from reticule.forms import Packed
from reticule.graph import Graph, Network
from reticule.methods.base import Context
from reticule.methods.quantise.calibration import unseen_like
from reticule.tuning.executor import execute
from reticule.tuning.likelihood import logits
from reticule.tuning.problem import (
    EVALUATION_BATCH,
    Problem,
    answers,
    as_input,
    constant_tensors,
    evenly,
)
from reticule.tuning.witness import Witness

JUDGEMENT = 1.2e11  # multiply-accumulates of one judgement
FEWEST_JUDGED, MOST_JUDGED = 512, 4096
TURNS = 8  # blends of one image
KNOWN = 0.98  # share of right answers to images that a network knows by heart
NEW = 0.75  # points lost on new images for one on blends of such, about the most of those measured
TESTED = 5000  # images: what a test shows differs by the standard error of so many
MOST = 12.0  # decibels that anything counts as off
MISTAKES = 0.6  # share of the changed answers to known images that are mistakes on new ones


@dataclass(frozen=True)
class Verdict:
    """What a network probably loses: points of accuracy, and its error in percent.

    None where nobody asked.
    """

    drop: float | None = None
    error: float | None = None

    def allowed(self, context: Context) -> bool:
        """Whether the user's budget for the answers is kept, as far as is known."""
        return self.lacking(context) <= 0

    def lacking(self, context: Context) -> float:
        """The decibels by which the errors of weights are too large, as far as can be told:
        an error is about their amplitude, a drop about their energy."""
        found = [-MOST]
        if self.drop is not None and context.max_drop is not None:
            found.append(decibels(self.drop, context.max_drop, 10))
        if self.error is not None and context.max_error is not None:
            found.append(decibels(self.error, context.max_error, 20))
        return max(found)

    def notes(self) -> dict[str, object]:
        """For the record of a stage."""
        named = {"predicted_drop": self.drop, "predicted_error": self.error}
        return {name: round(value, 3) for name, value in named.items() if value is not None}

    def __str__(self) -> str:
        parts = [] if self.drop is None else [f"about {self.drop:.2f} points lost"]
        return ", ".join(parts if self.error is None else [*parts, f"error {self.error:.2f} %"])


NOT_JUDGED = Verdict()


def decibels(found: float, allowed: float, each: float) -> float:
    """By how much a figure is above what is allowed, ``each`` for a power of ten.

    At most :data:`MOST` either way.  Above 0 if and only if it is not allowed.

    >>> decibels(10.0, 5.0, 20).__round__(2), decibels(0.0, 5.0, 20), decibels(1e-9, 0.0, 10)
    (6.02, -12.0, 12.0)
    """
    if found <= 0:
        return -MOST
    if allowed <= 0 or not math.isfinite(found):
        return MOST
    return min(max(each * math.log10(found / allowed), -MOST), MOST)


@dataclass(frozen=True)
class Assessor:
    """Judges networks by what the budget asks for, always against the original."""

    judge: Judge | None
    witness: Witness | None

    @classmethod
    def of(cls, context: Context, rng: np.random.Generator) -> Assessor | None:
        """None where the budget asks nothing of the answers."""
        judge = None
        if context.max_drop is not None and context.problem is not None and context.classified:
            judge = Judge.of(context.original, context.problem, context.unseen, rng)
        witness = None
        if context.max_error is not None:
            witness = context.witness
            if witness is None and context.problem is not None:
                witness = context.problem.witness
        return cls(judge, witness) if judge or witness else None

    def verdict(self, packed: Packed) -> Verdict:
        """What a network loses."""
        return Verdict(
            self.judge.drop(packed) if self.judge else None,
            self.witness.cautious_error(packed) if self.witness else None,
        )


@dataclass(frozen=True)
class Judge:
    """Compares answers with those of the original.

    ``mixed`` inputs (one array for each of the network's) and ``probabilities`` (n, classes), what
    the original says of them; and ``answers`` to inputs as they are (``plain``).  If those are new
    to the original (``unseen``), only their labels count.  ``known``: it knows them by heart.
    """

    mixed: tuple[np.ndarray, ...]
    probabilities: Tensor
    plain: tuple[Data, ...]
    answers: np.ndarray
    unseen: bool
    known: bool = False

    @classmethod
    def of(
        cls, original: Network, problem: Problem, unseen: bool, rng: np.random.Generator
    ) -> Judge:
        graph, tensors = original.graph, constant_tensors(original)
        if unseen:
            new = (problem.held_out,)
            return cls((), torch.zeros(0), new, _answers(graph, tensors, new), True)
        macs = max(sum(graph.macs().values()), 1)
        count = int(np.clip(JUDGEMENT / macs, FEWEST_JUDGED, MOST_JUDGED))
        plain: tuple[Data, ...] = (evenly(problem.held_out, count),)
        if (missing := count - len(plain[0])) > 0:  # others say something, too
            plain = (*plain, evenly(problem.train, missing))
        turns = min(math.ceil(count / sum(map(len, plain))), TURNS)
        blends = [unseen_like(p, problem, rng, mixed=True) for p in plain for _ in range(turns)]
        mixed = tuple(np.concatenate(parts) for parts in zip(*blends, strict=True))
        probabilities = _probabilities(graph, tensors, mixed)
        own = _answers(graph, tensors, plain)
        right = own == np.concatenate([data.labels for data in plain])
        return cls(mixed, probabilities, plain, own, False, float(right.mean()) >= KNOWN)

    def drop(self, packed: Packed) -> float:
        """Points of accuracy that are probably lost; rather too many than too few."""
        tensors = constant_tensors(packed.network())
        found = _answers(packed.graph, tensors, self.plain)
        changed = found != self.answers
        if self.unseen:
            (data,) = self.plain
            right = [(a == data.labels).astype(float) for a in (self.answers, found)]
            uncertain = np.sqrt(np.sum(changed)) / len(found)
            return 100.0 * float(np.mean(right[0] - right[1]) + uncertain)
        outputs = answers(packed.graph, tensors, self.mixed)[0]
        guesses = torch.from_numpy(outputs.reshape(len(outputs), -1).argmax(1))
        own = self.probabilities.max(1).values
        lost = own - self.probabilities.gather(1, guesses[:, None])[:, 0]
        points = 100.0 * float(lost.mean())
        if not self.known:
            return NEW * points + 100.0 * float(np.sqrt(np.mean(changed) / TESTED))
        return max(expected_drop(points), MISTAKES * 100.0 * float(np.mean(changed)))


def expected_drop(lost: float) -> float:
    """Points lost on new images, where so many are expected to be lost on mixed ones.

    Near the largest drops that were measured on four networks (two MNIST perceptrons and
    LeNets, two CIFAR-10 ResNets) at six qualities each.

    >>> round(expected_drop(2.0), 2)
    0.49
    """
    return 0.22 * lost + 0.012 * lost**2


def _answers(graph: Graph, tensors: dict[str, Tensor], plain: tuple[Data, ...]) -> np.ndarray:
    parts = [
        answers(graph, tensors, inputs)[0].reshape(len(inputs[0]), -1).argmax(1)
        for data in plain
        for inputs in data.input_batches(EVALUATION_BATCH)
    ]
    return np.concatenate(parts)


@torch.no_grad()
def _probabilities(
    graph: Graph, tensors: dict[str, Tensor], inputs: tuple[np.ndarray, ...]
) -> Tensor:
    """(n, classes) of the first output."""
    parts = []
    for start in range(0, len(inputs[0]), EVALUATION_BATCH):
        batch = [as_input(part[start : start + EVALUATION_BATCH]) for part in inputs]
        outputs = execute(graph, tensors, *batch)
        parts.append(logits(graph, outputs)[0].softmax(1))
    return torch.cat(parts)
