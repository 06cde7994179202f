"""A file on disk, measured in a fresh process that never saw the network.

What goes there: the ``.ret`` file, inputs, labels, and the answers of the network that it is
compared with, as files in a folder.  What comes back: one line of JSON.  Pixels are sent as
pixels, so that scale, mean and std come out of the ``.ret`` file itself.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reticule.data import Data
from reticule.engine import Model
from reticule.errors import ReticuleError
from reticule.evaluation.accuracy import (
    BATCH,
    Counter,
    as_tuple,
    first_output,
    milliseconds,
    peak_rss_mib,
)
from reticule.evaluation.answers import Answers
from reticule.evaluation.fidelity import Fidelity, fidelity_of
from reticule.evaluation.inputs import Arrays
from reticule.evaluation.task import classes_of, is_classified

_CODE = "from reticule.evaluation.process import main; main()"


@dataclass(frozen=True)
class Measured:
    """What a fresh process found of a file; accuracies in percent, None without labels.

    ``fidelity`` is empty where there was nothing to compare with; ``ms_per_image`` is the median
    of single inputs, not a number where nobody asked.
    """

    accuracy: float | None
    top5: float | None
    fidelity: tuple[Fidelity, ...]
    n: int
    ms_per_image: float
    peak_rss_mib: float


def measure(
    ret: Path, data: Data | Arrays, exact: Answers | None = None, *, timed: bool = False
) -> Measured:
    """Decode a ``.ret`` file in a fresh process and run all of ``data`` through it.

    ``data`` is fitted to the network; ``exact`` are the answers of the network that the file is
    compared with.  Single inputs are ``timed`` on demand.  ReticuleError where the process fails.
    """
    with tempfile.TemporaryDirectory(prefix="reticule-") as name:
        folder = Path(name)
        _send_inputs(data, folder)
        job = {
            "ret": str(ret.resolve()),
            "pixels": _pixels(data) is not None,
            "labelled": data.labelled,
            "timed": timed,
            "answers": [str(file) for file in exact.files] if exact else [],
        }
        (folder / "job.json").write_text(json.dumps(job), "utf-8")
        command = [sys.executable, "-P", "-c", _CODE, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ReticuleError(f"the written file could not be decoded and run again: {reason}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    fidelity = tuple(Fidelity(**each) for each in found.pop("fidelity"))
    return Measured(fidelity=fidelity, **found)


def _send_inputs(data: Data | Arrays, folder: Path) -> None:
    """All inputs and labels as ``.npy`` files."""
    pixels = _pixels(data)
    arrays: list[np.ndarray] = []
    for start in range(0, len(data), BATCH):
        chosen = np.arange(start, min(start + BATCH, len(data)))
        parts: tuple[np.ndarray, ...] = (pixels.images(chosen),) if pixels else data.inputs(chosen)
        if not arrays:
            arrays = [
                np.lib.format.open_memmap(
                    folder / f"input-{number}.npy", "w+", part.dtype, (len(data), *part.shape[1:])
                )
                for number, part in enumerate(parts)
            ]
        for array, part in zip(arrays, parts, strict=True):
            array[start : start + len(part)] = part
    if data.labelled:
        np.save(folder / "labels.npy", data.labels)


def _pixels(data: Data | Arrays) -> Data | None:
    """The data, if what it holds are pixels."""
    return data if isinstance(data, Data) and data.holds_images else None


# In the fresh process -------------------------------------------------------------------------


def main() -> None:
    """Measure what the folder in the first argument asks for; print one line of JSON."""
    try:
        found = _measured(Path(sys.argv[1]))
    except ReticuleError as problem:
        sys.exit(str(problem))
    plain: dict[str, Any] = asdict(found)
    print(json.dumps(plain))  # infinities too: both ends are Python


def _measured(folder: Path) -> Measured:
    job = json.loads((folder / "job.json").read_text("utf-8"))
    model = Model.load(job["ret"])
    exact = Answers(tuple(map(Path, job["answers"])), None) if job["answers"] else None
    data = _received(folder, model, job["pixels"], job["labelled"])
    classified = is_classified(model.graph, data)
    counter = Counter(classes_of(model.graph)) if classified else None

    def answered() -> Iterator[tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]]:
        reference = exact.batches(BATCH) if exact else None
        done = 0
        for inputs in data.input_batches(BATCH):
            found = as_tuple(model(*inputs))
            if counter is not None:
                counter.add(first_output(found), data.labels[done : done + len(found[0])])
            done += len(found[0])
            yield (next(reference) if reference else found), found

    fidelity = fidelity_of(model.graph, answered())
    return Measured(
        counter.accuracy if counter else None,
        counter.top5 if counter else None,
        fidelity if exact else (),
        len(data),
        milliseconds(model, data) if job["timed"] else math.nan,
        peak_rss_mib(),
    )


def _received(folder: Path, model: Model, pixels: bool, labelled: bool) -> Arrays:
    """What was sent."""
    files = [folder / f"input-{number}.npy" for number in range(len(model.graph.inputs))]
    about = model.about
    return Arrays(
        tuple(np.load(file, mmap_mode="r") for file in files),
        np.load(folder / "labels.npy") if labelled else None,
        about.preprocessing if about and pixels else None,
    )
