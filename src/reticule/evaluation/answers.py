"""What a network says to many inputs, kept on disk: the reference that others are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reticule.engine import Model
from reticule.evaluation.accuracy import BATCH, Counter, as_tuple, first_output
from reticule.evaluation.inputs import Inputs
from reticule.evaluation.task import classes_of, is_classified


@dataclass(frozen=True)
class Answers:
    """Outputs of a network to all inputs of some data, one ``.npy`` file for each output.

    ``accuracy`` is in percent where the data has labels for a classifier, else None.
    """

    files: tuple[Path, ...]
    accuracy: float | None

    def batches(self, size: int) -> Iterator[tuple[np.ndarray, ...]]:
        """The outputs in parts of so many inputs."""
        arrays = [np.load(file, mmap_mode="r") for file in self.files]
        for start in range(0, len(arrays[0]), size):
            yield tuple(array[start : start + size] for array in arrays)


def answers_of(model: Model, data: Inputs, folder: Path) -> Answers:
    """Run all of ``data``, fitted to the model, through it; the outputs go into the folder."""
    classified = is_classified(model.graph, data)
    counter = Counter(classes_of(model.graph)) if classified else None
    labels = data.labels if classified else None
    files: list[Path] = []
    arrays: list[np.ndarray] = []
    done = 0
    for inputs in data.input_batches(BATCH):
        outputs = as_tuple(model(*inputs))
        if not arrays:
            files, arrays = _opened(folder, outputs, len(data))
        for array, output in zip(arrays, outputs, strict=True):
            array[done : done + len(output)] = output
        if counter is not None and labels is not None:
            counter.add(first_output(outputs), labels[done : done + len(outputs[0])])
        done += len(outputs[0])
    return Answers(tuple(files), counter.accuracy if counter else None)


def _opened(
    folder: Path, outputs: Sequence[np.ndarray], count: int
) -> tuple[list[Path], list[np.ndarray]]:
    files = [folder / f"answers-{number}.npy" for number in range(len(outputs))]
    arrays: list[np.ndarray] = [
        np.lib.format.open_memmap(file, "w+", output.dtype, (count, *output.shape[1:]))
        for file, output in zip(files, outputs, strict=True)
    ]
    return files, arrays
