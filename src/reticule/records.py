"""Records of finished work that a file must hold: plain data, checked before it is needed.

A stage may have worked for an hour when its record is written.  So what methods note is turned
into plain data at once, whatever it is, and what is read back is as strict as any file.

>>> import numpy as np
>>> plain({"shares": np.array([0.5, 1.0]), "kept": np.bool_(True), "layers": ("a", "b")})
{'shares': [0.5, 1.0], 'kept': True, 'layers': ['a', 'b']}
>>> record = StageRecord("fold", None, 0.5, 12, notes={"layers": np.int64(3)})
>>> StageRecord.from_json(record.to_json()) == record
True
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]
"""What JSON can hold."""

_DEEPEST = 16


@dataclass(frozen=True)
class StageRecord:
    """One stage of a run; ``accuracy`` is that on the held-out images afterwards, in percent.

    ``error_percent`` is how far answers to held-out or generated inputs are from the original's
    (:mod:`reticule.evaluation.fidelity`), None where it is not finite.  ``undone`` says why the
    network was put back to what it was before the stage, "" if it was not.  ``skipped`` maps
    tensors to the reason why they were left alone, ``notes`` are figures of the method's own,
    which become plain data here.
    """

    name: str
    accuracy: float | None
    seconds: float
    nonzero: int
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    error_percent: float | None = None
    undone: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "skipped", plain(self.skipped))
        object.__setattr__(self, "notes", plain(self.notes))

    def to_json(self) -> dict[str, Any]:
        """As plain data; ``from_json`` gives the same value back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> StageRecord:
        """From plain data; ValueError for anything that ``to_json`` does not write."""
        if not isinstance(value, dict) or set(value) != set(cls.__dataclass_fields__):
            raise ValueError("a record has other entries")
        numbers = {"seconds": float, "nonzero": int}
        for name, kind in numbers.items():
            if not isinstance(value[name], (int, kind)) or isinstance(value[name], bool):
                raise ValueError(f"the record's {name} is no number")
        if not isinstance(value["name"], str) or not isinstance(value["undone"], str):
            raise ValueError("the record has no name")
        for name in ("accuracy", "error_percent"):
            if not isinstance(value[name], (int, float, type(None))):
                raise ValueError(f"the record's {name} is no number")
        for name in ("skipped", "notes"):
            if not isinstance(value[name], dict):
                raise ValueError(f"the record's {name} is no object")
        return cls(**value)


def plain(value: object, depth: int = 0) -> Any:
    """A value as JSON can hold it: what has no such form becomes text, never an error.

    Numbers that are not finite become text too, as JSON has none.

    >>> plain([float("nan"), {1: {2.5}}])
    ['nan', {'1': [2.5]}]
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {str(key): plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [plain(item, depth + 1) for item in value]
    return str(value)
