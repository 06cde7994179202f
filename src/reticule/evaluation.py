"""Accuracy, speed and memory of a network, measured on the engine."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from reticule.data import Data
from reticule.engine import Model
from reticule.errors import ReticuleError

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
    """Run all images of ``data``, which must carry its preprocessing, through a model."""
    classes = class_count(model)
    data = data.fitted(model.graph.inputs, classes, model.labels)
    right = right5 = 0
    for images, labels in data.batches(BATCH):
        logits = first_output(model(images))
        right += int((logits.argmax(1) == labels).sum())
        if classes > 10:
            best = np.argpartition(-logits, 5, axis=1)[:, :5]
            right5 += int((best == labels[:, None]).any(1).sum())
    n = len(data)
    return Evaluation(
        accuracy=100.0 * right / n,
        top5=100.0 * right5 / n if classes > 10 else None,
        n=n,
        ms_per_image=_milliseconds(model, data),
        peak_rss_mib=peak_rss_mib(),
    )


def class_count(model: Model) -> int:
    """Number of classes: the size of the first output for one image."""
    shapes = model.graph.shapes()
    return int(np.prod(shapes[model.graph.outputs[0]][1:]))


def first_output(answer: np.ndarray | tuple[np.ndarray, ...]) -> np.ndarray:
    """The first output as (N, classes)."""
    logits = answer[0] if isinstance(answer, tuple) else answer
    return logits.reshape(len(logits), -1)


def _milliseconds(model: Model, data: Data) -> float:
    """Median time of one image at a time, after a warm-up of a tenth as many."""
    count = min(TIMED_IMAGES, len(data))
    times = []
    for index in [0] * (count // 10) + list(range(count)):
        image = data.batch([index])
        start = time.perf_counter()
        model(image)
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


def evaluate_in_fresh_process(ret: Path, data: Data) -> Evaluation:
    """``reticule eval`` of a file on disk, in a new process that never saw the network.

    The images travel as pixels in a temporary file; preprocessing comes out of the
    ``.ret`` file itself.
    """
    with tempfile.TemporaryDirectory(prefix="reticule-") as folder:
        pixels = Path(folder) / "images.npz"
        data.save_npz(pixels)
        command = [
            sys.executable,
            "-m",
            "reticule",
            "eval",
            str(ret),
            "--data",
            str(pixels),
            "--json",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ReticuleError(f"the written file could not be evaluated again: {reason}")
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    return Evaluation(**{"top5": None, **figures})
