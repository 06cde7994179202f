"""How many points of accuracy a compression costs, guessed without labels.

If the original network's probabilities can be taken at their word, answer b instead of its
own answer a loses p(a) - p(b) correct answers on average.  Their mean over images is the
expected drop.  On images that the network was trained on it is next to nothing whatever
happens; on mixed images (see :func:`reticule.methods.quantise.calibration.unseen_like`) it is
several times the drop on new images, by a factor that differs little between networks.

A second witness are the training images themselves: an answer that changes on one that the
network knew is a mistake, while on new images some changes put mistakes right.  The
worse of the two guesses counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reticule.data import Data
from reticule.forms import Packed
from reticule.graph import Graph, Network
from reticule.methods.quantise.calibration import unseen_like
from reticule.tuning.executor import execute
from reticule.tuning.problem import (
    EVALUATION_BATCH,
    Problem,
    as_input,
    constant_tensors,
    evenly,
    predictions,
)
from reticule.tuning.train import logits

JUDGEMENT = 1.2e11  # multiply-accumulates of one judgement
FEWEST, MOST = 512, 4096
MISTAKES = 0.6  # share of the changed answers to known images that are mistakes on new ones


@dataclass(frozen=True)
class Judge:
    """Compares answers with those of the original.

    ``mixed`` images (n, C, H, W) and ``probabilities`` (n, classes), what the original says of
    them; and ``answers`` to images as they are.  If those are new to the original
    (``unseen``), only their labels count.
    """

    mixed: np.ndarray
    probabilities: Tensor
    plain: Data
    answers: np.ndarray
    unseen: bool

    @classmethod
    def of(
        cls, original: Network, problem: Problem, unseen: bool, rng: np.random.Generator
    ) -> Judge:
        graph, tensors = original.graph, constant_tensors(original)
        if unseen:
            nothing, data = np.zeros(0, np.float32), problem.held_out
            return cls(nothing, torch.zeros(0), data, _answers(graph, tensors, data), True)
        macs = max(sum(graph.macs().values()), 1)
        sample = evenly(problem.held_out, int(np.clip(JUDGEMENT / macs, FEWEST, MOST)))
        images = unseen_like(sample, problem.augmentation, rng, mixed=True)
        probabilities = _probabilities(graph, tensors, images)
        return cls(images, probabilities, sample, _answers(graph, tensors, sample), False)

    def drop(self, packed: Packed) -> float:
        """Points of accuracy that are probably lost; rather too many than too few."""
        tensors = constant_tensors(packed.network())
        answers = _answers(packed.graph, tensors, self.plain)
        changed = answers != self.answers
        if self.unseen:
            right = [(a == self.plain.labels).astype(float) for a in (self.answers, answers)]
            uncertain = np.sqrt(np.sum(changed)) / len(answers)
            return 100.0 * float(np.mean(right[0] - right[1]) + uncertain)
        guesses = torch.from_numpy(predictions(packed.graph, tensors, (self.mixed,)))
        own = self.probabilities.max(1).values
        lost = own - self.probabilities.gather(1, guesses[:, None])[:, 0]
        expected = expected_drop(100.0 * float(lost.mean()))
        return max(expected, MISTAKES * 100.0 * float(np.mean(changed)))


def expected_drop(lost: float) -> float:
    """Points lost on new images, where so many are expected to be lost on mixed ones.

    Near the largest drops that were measured on four networks (two MNIST perceptrons and
    LeNets, two CIFAR-10 ResNets) at six qualities each.

    >>> round(expected_drop(2.0), 2)
    0.49
    """
    return 0.22 * lost + 0.012 * lost**2


def _answers(graph: Graph, tensors: dict[str, Tensor], data: Data) -> np.ndarray:
    batches = (images for images, _ in data.batches(EVALUATION_BATCH))
    return np.concatenate([predictions(graph, tensors, (images,)) for images in batches])


@torch.no_grad()
def _probabilities(graph: Graph, tensors: dict[str, Tensor], images: np.ndarray) -> Tensor:
    """(n, classes) of the first output."""
    parts = []
    for start in range(0, len(images), EVALUATION_BATCH):
        outputs = execute(graph, tensors, as_input(images[start : start + EVALUATION_BATCH]))
        parts.append(logits(graph, outputs)[0].softmax(1))
    return torch.cat(parts)
