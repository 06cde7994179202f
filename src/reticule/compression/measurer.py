"""The file, written, decoded again and measured in a fresh process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reticule.data import Data
from reticule.engine import Model
from reticule.evaluation.answers import Answers, answers_of
from reticule.evaluation.fidelity import Fidelity
from reticule.evaluation.inputs import Arrays
from reticule.evaluation.process import measure
from reticule.forms import Packed


@dataclass(frozen=True)
class Figures:
    """What was measured of a file: accuracies in percent, None without labels for a classifier.

    ``accuracy_held_out`` is that of the decoded file on the held-out images, ``on`` says which
    inputs the other figures belong to: "test", "val" or "generated".
    """

    on: str

    accuracy_before: float | None
    accuracy_after: float | None
    accuracy_held_out: float | None
    fidelity: tuple[Fidelity, ...]


def measure_file(
    original: Packed,
    write: Callable[[Path], object],
    on: str,
    judged: Data | Arrays,
    held_out: Data | None,
) -> Figures:
    """Measure the file that is written on ``judged``, compared with the original there."""
    with tempfile.TemporaryDirectory(prefix="reticule-") as name:
        folder = Path(name)
        path = folder / "decoded.ret"
        write(path)
        exact: Answers = answers_of(Model(original), judged, folder)
        found = measure(path, judged, exact)
        other = found.accuracy
        if held_out is not None and held_out is not judged and held_out.labelled:
            other = measure(path, held_out).accuracy
    return Figures(on, exact.accuracy, found.accuracy, other, found.fidelity)
