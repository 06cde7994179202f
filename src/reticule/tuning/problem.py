"""What training works on: a network, its teacher and the images."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from reticule.data import Data
from reticule.evaluation.task import is_classified
from reticule.forms import Packed
from reticule.graph import Graph, Network
from reticule.tuning.augment import Augmentation, cautious, detect
from reticule.tuning.device import CPU
from reticule.tuning.running import EVALUATION_BATCH as EVALUATION_BATCH
from reticule.tuning.running import accuracy as accuracy
from reticule.tuning.running import answers as answers
from reticule.tuning.running import as_input as as_input
from reticule.tuning.running import constant_tensors as constant_tensors
from reticule.tuning.running import evenly as evenly
from reticule.tuning.running import predictions as predictions
from reticule.tuning.witness import Witness

AFFORDABLE = 1.8e13  # multiply-accumulates of forward passes: about 15 minutes on two cores
OVERHEAD = 1_000_000  # multiply-accumulates that an image costs whatever the network
MOST_EPOCHS = 24.0
LEAST_STEPS = 1500  # of 128 images: what even the smallest set of images gets
DETECTION_IMAGES = 2000
DETECTION_PIXELS = 1 << 26
TIMED_IMAGES, TIMES = 128, 3
TRAINING = 4.0  # forward passes that training on an image takes as long as, teacher included


@dataclass(frozen=True)
class Problem:
    """The original network as teacher, inputs to train on, inputs to decide on.

    ``classified`` says that there are labels for a classifier; anything else is judged by how
    near its answers are to the original's.  ``minutes`` is what all training of a recipe may
    take (None: what seems worth it), ``device`` where it runs.
    """

    original: Network
    train: Data
    held_out: Data
    augmentation: Augmentation
    minutes: float | None = None
    device: torch.device = CPU
    classified: bool = True

    @classmethod
    def of(
        cls,
        original: Network,
        train: Data,
        held_out: Data,
        seed: int = 0,
        minutes: float | None = None,
        device: torch.device = CPU,
    ) -> Problem:
        """A problem with the augmentation that the original network tolerates."""
        classified = is_classified(original.graph, held_out)
        if not held_out.holds_images:
            known = Augmentation()
        elif not classified:
            known = cautious(held_out.shape)
        else:
            known = _detected(original, held_out, seed, device)
        return cls(original, train, held_out, known, minutes, device, classified)

    def affordable_epochs(self, graph: Graph) -> float:
        """Epochs that training may take in all, from the network's size alone.

        A count of operations, not of seconds, so that the same command makes the
        same file on a slow machine; unless ``minutes`` were asked for.
        """
        if self.minutes is not None:
            return 60 * self.minutes / (self._seconds_per_image * max(len(self.train), 1))
        cost = (sum(graph.macs().values()) + OVERHEAD) * max(len(self.train), 1)
        most = max(MOST_EPOCHS, LEAST_STEPS * 128 / max(len(self.train), 128))
        return min(most, AFFORDABLE / cost)

    @cached_property
    def _seconds_per_image(self) -> float:
        """What training on one image takes on this machine, from some forward passes."""
        graph, tensors = self.original.graph, constant_tensors(self.original, self.device)
        sample = evenly(self.train, TIMED_IMAGES)
        inputs = sample.inputs(np.arange(len(sample)))
        taken = []
        for _ in range(TIMES):
            start = time.perf_counter()
            answers(graph, tensors, inputs)
            taken.append(time.perf_counter() - start)
        return TRAINING * min(taken) / max(len(sample), 1)

    @cached_property
    def witness(self) -> Witness:
        """Held-out inputs, with what the original says to them."""
        return Witness.from_data(self.original, self.held_out)

    def accuracy(self, packed: Packed) -> float | None:
        """Percent correct (top-1) on the held-out images; None for what is no classifier."""
        return self.score(packed) if self.classified else None

    def score(self, packed: Packed, data: Data | None = None) -> float:
        """How good a network is, at most 100: its accuracy, or 100 less its error in percent.

        On the held-out inputs, or on other ``data``.
        """
        if self.classified:
            tensors = constant_tensors(packed.network(), self.device)
            return accuracy(packed.graph, tensors, data or self.held_out)
        witness = Witness.from_data(self.original, data) if data else self.witness
        return 100.0 - witness.error(packed)


def _detected(original: Network, data: Data, seed: int, device: torch.device) -> Augmentation:
    """The strongest augmentation that costs the network little accuracy."""
    tensors = constant_tensors(original, device)
    room = DETECTION_PIXELS // max(1, math.prod(data.shape))
    sample = evenly(data, max(1, min(DETECTION_IMAGES, room)))
    images, labels = sample.images(np.arange(len(sample))), sample.labels

    def known(changed: np.ndarray) -> float:
        pixels = data.preprocessing.apply(changed)
        guesses = predictions(original.graph, tensors, (pixels,))
        return 100.0 * float(np.mean(guesses == labels))

    return detect(known, images, seed)
