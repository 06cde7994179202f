"""What training works on: a network, its teacher and the images."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from reticule.data import Data
from reticule.errors import DataError
from reticule.forms import Packed
from reticule.graph import Graph, Network
from reticule.tuning.augment import Augmentation, detect
from reticule.tuning.device import CPU
from reticule.tuning.executor import execute

EVALUATION_BATCH = 256
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
    """The original network as teacher, images to train on, images to decide on.

    ``minutes`` is what all training of a recipe may take (None: what seems worth it),
    ``device`` where it runs.
    """

    original: Network
    train: Data
    held_out: Data
    augmentation: Augmentation
    minutes: float | None = None
    device: torch.device = CPU

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
        if len(original.graph.inputs) != 1:
            raise DataError(
                f"the network has {len(original.graph.inputs)} inputs; "
                "retraining on labelled images needs exactly one"
            )
        tensors = constant_tensors(original, device)
        room = DETECTION_PIXELS // max(1, math.prod(held_out.shape))
        sample = evenly(held_out, max(1, min(DETECTION_IMAGES, room)))
        images, labels = sample.images(np.arange(len(sample))), sample.labels

        def accuracy(changed: np.ndarray) -> float:
            pixels = held_out.preprocessing.apply(changed)
            guesses = predictions(original.graph, tensors, (pixels,))
            return 100.0 * float(np.mean(guesses == labels))

        return cls(original, train, held_out, detect(accuracy, images, seed), minutes, device)

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
        pixels = sample.batch(np.arange(len(sample)))
        taken = []
        for _ in range(TIMES):
            start = time.perf_counter()
            predictions(graph, tensors, (pixels,))
            taken.append(time.perf_counter() - start)
        return TRAINING * min(taken) / max(len(sample), 1)

    def accuracy(self, packed: Packed) -> float:
        """Percent correct (top-1) on the held-out images."""
        tensors = constant_tensors(packed.network(), self.device)
        return accuracy(packed.graph, tensors, self.held_out)


def evenly(data: Data, most: int) -> Data:
    """At most so many images, evenly spaced: folders come sorted by class."""
    if len(data) <= most:
        return data
    return data.subset(np.linspace(0, len(data) - 1, most).round().astype(np.int64))


def constant_tensors(network: Network, device: torch.device = CPU) -> dict[str, Tensor]:
    """The network's weights as tensors that are not trained."""
    out = {}
    for name, values in network.tensors.items():
        out[name] = as_input(np.array(values, np.float32), device)
    return out


def as_input(values: np.ndarray, device: torch.device = CPU) -> Tensor:
    """An array in the memory layout in which convolutions are fastest."""
    tensor = torch.from_numpy(values).to(device)
    if tensor.ndim == 4:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    return tensor


@torch.no_grad()
def predictions(
    graph: Graph, tensors: Mapping[str, Tensor], batches: tuple[np.ndarray, ...]
) -> np.ndarray:
    """Predicted classes: the largest entry of the first output."""
    guesses = []
    device = next((tensor.device for tensor in tensors.values()), CPU)
    for images in batches:
        for start in range(0, len(images), EVALUATION_BATCH):
            x = as_input(images[start : start + EVALUATION_BATCH], device)
            guesses.append(execute(graph, tensors, x)[0].flatten(1).argmax(1).cpu().numpy())
    return np.concatenate(guesses) if guesses else np.zeros(0, np.int64)


def accuracy(graph: Graph, tensors: Mapping[str, Tensor], data: Data) -> float:
    """Percent correct (top-1), executed by PyTorch in float32."""
    correct = 0
    for images, labels in data.batches(EVALUATION_BATCH):
        correct += int(np.sum(predictions(graph, tensors, (images,)) == labels))
    return 100.0 * correct / max(len(data), 1)
