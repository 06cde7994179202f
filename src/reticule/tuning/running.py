"""Run networks in PyTorch over many inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from reticule.data import Data
from reticule.graph import Graph, Network
from reticule.tuning.device import CPU
from reticule.tuning.executor import execute

EVALUATION_BATCH = 256

Inputs = tuple[np.ndarray, ...]
"""One array (n, ...) for each of a network's inputs."""


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
    guesses = [
        answers(graph, tensors, inputs)[0].reshape(len(inputs[0]), -1).argmax(1)
        for inputs in data.input_batches(EVALUATION_BATCH)
    ]
    return 100.0 * float(np.mean(np.concatenate(guesses) == data.labels))


@torch.no_grad()
def answers(
    graph: Graph, tensors: Mapping[str, Tensor], inputs: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, ...]:
    """All outputs for arrays of inputs, one for each of the network's."""
    parts: list[list[np.ndarray]] = []
    device = next((tensor.device for tensor in tensors.values()), CPU)
    for start in range(0, max(len(inputs[0]), 1), EVALUATION_BATCH):
        batch = [as_input(part[start : start + EVALUATION_BATCH], device) for part in inputs]
        parts.append([output.cpu().numpy() for output in execute(graph, tensors, *batch)])
    return tuple(np.concatenate(same) for same in zip(*parts, strict=True))
