"""What a compression run gives back: the file's bytes and everything that was measured."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reticule.budget import Budget
from reticule.codec import About
from reticule.evaluation.fidelity import Fidelity, worst_error
from reticule.files import write_whole
from reticule.forms import Packed
from reticule.recipes import Recipe
from reticule.records import StageRecord


@dataclass(frozen=True)
class Result:
    """A compressed network, the bytes of its file, and everything that was measured.

    Accuracies are in percent (top-1); ``accuracy_before`` and ``accuracy_after`` are
    measured on the test images, else on the held-out ones (``measured_on`` says which), and are
    None where there are no labels for a classifier.  ``fidelity`` compares every output with the
    original's, on the same inputs, or on generated ones where there are none (``fidelity_on``:
    "test", "val" or "generated").  ``images`` is the number of inputs.
    """

    blob: bytes
    packed: Packed
    about: About
    recipe: Recipe
    seed: int
    stages: tuple[StageRecord, ...]
    bytes_original: int
    bytes_weights: int
    accuracy_before: float | None
    accuracy_after: float | None
    measured_on: str | None
    fidelity: tuple[Fidelity, ...]
    fidelity_on: str
    images: int
    budget: Budget
    seconds: float
    tensor_bytes: Mapping[str, int]
    part_bytes: Mapping[str, int]

    @property
    def bytes_file(self) -> int:
        return len(self.blob)

    @property
    def ratio(self) -> float:
        """Bytes of the original's weights over bytes of the weight section."""
        return self.bytes_original / max(self.bytes_weights, 1)

    @property
    def ratio_file(self) -> float:
        """Bytes of the original's weights over bytes of the whole file."""
        return self.bytes_original / self.bytes_file

    @property
    def drop_points(self) -> float | None:
        """Points of accuracy lost."""
        if self.accuracy_before is None or self.accuracy_after is None:
            return None
        return self.accuracy_before - self.accuracy_after

    @property
    def error_percent(self) -> float | None:
        """The error of the worst output, in percent; None where it is not finite."""
        error = worst_error(self.fidelity)
        return error if error is not None and math.isfinite(error) else None

    @property
    def undone(self) -> dict[str, str]:
        """Stages that were undone as they destroyed the network, with the reason."""
        return {stage.name: stage.undone for stage in self.stages if stage.undone}

    @property
    def budget_met(self) -> bool | None:
        """Whether the budget was kept; None without one, or where nothing could be measured."""
        return self.budget.met(self.drop_points, worst_error(self.fidelity), self.bytes_file)

    @property
    def broken(self) -> list[str]:
        """What of the budget was not kept, in words."""
        return self.budget.broken(self.drop_points, worst_error(self.fidelity), self.bytes_file)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ``.ret`` file (a temporary one first, then renamed)."""
        write_whole(path, self.blob)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write a self-contained HTML report."""
        from reticule.report import write_report

        write_report(self, path)

    def to_json(self) -> dict[str, Any]:
        """The figures as plain data, as ``compress --json`` prints them."""
        return {
            "recipe": self.recipe.name,
            "seed": self.seed,
            "bytes_file": self.bytes_file,
            "bytes_weights": self.bytes_weights,
            "bytes_original": self.bytes_original,
            "part_bytes": dict(self.part_bytes),
            "ratio": round(self.ratio, 3),
            "ratio_file": round(self.ratio_file, 3),
            "accuracy_before": self.accuracy_before,
            "accuracy_after": self.accuracy_after,
            "measured_on": self.measured_on,
            "drop_points": None if self.drop_points is None else round(self.drop_points, 4),
            "error_percent": self.error_percent,
            "fidelity": [each.to_json() for each in self.fidelity],
            "fidelity_on": self.fidelity_on,
            "images": self.images,
            "undone": self.undone,
            "budget_met": self.budget_met,
            "seconds": round(self.seconds, 1),
            "stages": [stage.to_json() for stage in self.stages],
        }
