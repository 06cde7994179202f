"""Trained networks and images on disk, made when first asked for."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import reticule
from generated import training
from generated.catalogue import PLANS, Plan, trained, untrained
from generated.measures import Answer
from generated.sets import Drawn
from generated.shapes import Pixels
from reticule.engine import Model
from reticule.files import write_whole
from reticule.forms import Packed

FOLDER = Path(__file__).parents[1] / "files" / "generated"
"""Where everything is kept by default: outside of the repository's history."""

TRAINING, TEST, CALIBRATION = 1, 2, 3
"""Seeds of the images to train on, to judge on, and to compress with."""

TESTED, BATCH = 5000, 250


@dataclass(frozen=True)
class Cache:
    """A folder with ``NAME.onnx`` for each network of the catalogue, and sets of images.

    A network whose plan has changed is trained anew.
    """

    folder: Path = FOLDER

    def network(self, name: str) -> Path:
        """The trained network as an ONNX file, batch norms as they are; trained if need be."""
        path = self.folder / f"{name}.onnx"
        mark = path.with_suffix(".made-by")
        plan = PLANS[name]
        digest = _digest(plan)
        if not (path.exists() and mark.exists() and mark.read_text() == digest):
            self.folder.mkdir(parents=True, exist_ok=True)
            module = trained(plan, TRAINING)
            example = torch.zeros(2, *plan.task.draw(1, TRAINING).images.shape[1:])
            reticule.to_onnx(reticule.from_torch(module, example), path)
            write_whole(mark, digest.encode())
        return path

    def images(self, name: str, count: int, seed: int) -> Drawn:
        """Images of a network's task with their targets."""
        return PLANS[name].task.draw(count, seed)

    def file_of(self, name: str, drawn: Drawn, *, labelled: bool) -> Path:
        """Images as an ``.npz`` that the command line reads, with labels or without."""
        path = self.folder / f"{name}.npz"
        self.folder.mkdir(parents=True, exist_ok=True)
        labels = {"labels": drawn.targets} if labelled else {}
        np.savez(path, images=drawn.images, **labels)
        return path

    def measured(self, name: str, model: Model, count: int = TESTED) -> tuple[float, Answer]:
        """What a model is worth on the test images, and its answers."""
        plan: Plan = PLANS[name]
        drawn = plan.task.draw(count, TEST)
        answer = answers(model, drawn.images)
        return plan.task.measure(answer, drawn.targets), answer


def original(path: Path) -> Model:
    """A network as it was given, on the engine."""
    return Model(Packed.of(reticule.from_onnx(path)))


def answers(model: Model, images: Pixels) -> Answer:
    """All outputs of a network that takes pixel/255."""
    parts = [_tuple(model(batch)) for batch in _batches(images)]
    return tuple(np.concatenate(output) for output in zip(*parts, strict=True))


def _batches(images: Pixels) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(images), BATCH):
        yield images[start : start + BATCH].astype(np.float32) / np.float32(255)


def _tuple(answer: np.ndarray | tuple[np.ndarray, ...]) -> Answer:
    return answer if isinstance(answer, tuple) else (answer,)


def _digest(plan: Plan) -> str:
    """Of what decides a network's training: images, module as it starts, loss, and how."""
    digest = hashlib.sha256(Path(training.__file__).read_bytes())
    module, drawn = untrained(plan, TRAINING), plan.task.draw(16, TRAINING)
    for values in (drawn.images, drawn.targets, *map(np.asarray, module.state_dict().values())):
        digest.update(np.ascontiguousarray(values).tobytes())
    how = (repr(module), inspect.getsource(plan.task.loss), plan.images, plan.epochs, plan.rate)
    digest.update(repr(how).encode())
    return digest.hexdigest()
