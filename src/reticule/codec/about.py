"""What a file says about itself, and plain JSON data read with suspicion.

>>> About(labels=("cat", "dog"), seed=7).to_json()
{'labels': ['cat', 'dog'], 'seed': 7}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

from reticule.codec.limits import Limits
from reticule.data import Preprocessing
from reticule.errors import DataError, Fault, FormatError

Scalar = str | int | float | bool | None

FIDELITY = ("output", "error_percent", "largest", "snr_db", "agreement")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MOST = 1 << 63
_DEPTH = 16


@dataclass(frozen=True)
class About:
    """Everything in a file that is neither topology nor weights.

    ``recipe`` is plain JSON data, ``accuracy`` maps names to JSON scalars, ``fidelity`` has for
    each output its name and figures (:data:`FIDELITY`; None where one is not finite), and
    ``bytes_original`` is 4 times the float parameters of the network as it was given.
    """

    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()
    recipe: Mapping[str, object] = field(default_factory=dict)
    seed: int = 0
    bytes_original: int = 0
    accuracy: Mapping[str, Scalar] = field(default_factory=dict)
    fidelity: tuple[Mapping[str, Scalar], ...] = ()

    def to_json(self) -> dict[str, object]:
        """As plain data, without what has its default value."""
        plain: dict[str, object] = {
            "preprocessing": self.preprocessing and self.preprocessing.to_json(),
            "labels": list(self.labels),
            "recipe": dict(self.recipe),
            "seed": self.seed,
            "bytes_original": self.bytes_original,
            "accuracy": dict(self.accuracy),
            "fidelity": [[each[name] for name in FIDELITY] for each in self.fidelity],
        }
        return {name: value for name, value in plain.items() if value}


class Checked:
    """A parsed JSON value whose parts are taken out with their types checked."""

    def __init__(self, where: str, limits: Limits) -> None:
        self.where = where
        self.limits = limits

    def fail(self, detail: str) -> FormatError:
        """The error for metadata of the wrong kind."""
        return FormatError(Fault.METADATA, self.where, detail)

    def mapping(self, value: object, what: str, allowed: tuple[str, ...] = ()) -> dict[str, object]:
        """An object; with ``allowed``, one that has no other entries."""
        if not isinstance(value, dict):
            raise self.fail(f"{what} is no object")
        for name in value:
            self.text(name, f"a name in {what}")
            if allowed and name not in allowed:
                raise self.fail(f"{what} has an unknown entry '{name}'")
        return value

    def sequence(self, value: object, what: str, most: int) -> list[object]:
        """A list of at most so many values."""
        if not isinstance(value, list):
            raise self.fail(f"{what} is no list")
        if len(value) > most:
            raise FormatError(Fault.TOO_LARGE, self.where, f"{len(value)} in {what}")
        return value

    def text(self, value: object, what: str) -> str:
        """A string of printable characters that is not too long."""
        if not isinstance(value, str):
            raise self.fail(f"{what} is no string")
        if len(value) > self.limits.string:
            raise FormatError(Fault.TOO_LARGE, self.where, f"{what} has {len(value)} characters")
        if _UNPRINTABLE.search(value):
            raise self.fail(f"{what} has control characters")
        return value

    def texts(self, value: object, what: str, most: int) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(self.text(item, what) for item in self.sequence(value, what, most))

    def whole(self, value: object, what: str, least: int = -_MOST) -> int:
        """An integer that fits 64 bits."""
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < _MOST:
            raise self.fail(f"{what} is no integer in range")
        return value

    def plain(self, value: object, what: str) -> None:
        """Any JSON data that is not nested deeply and has only finite numbers."""
        waiting = [(value, 0)]
        while waiting:
            item, depth = waiting.pop()
            if depth > _DEPTH:
                raise FormatError(Fault.TOO_LARGE, self.where, f"{what} is nested too deeply")
            if isinstance(item, str):
                self.text(item, what)
            elif isinstance(item, float) and not isfinite(item):
                raise self.fail(f"{what} has a number that is not finite")
            elif isinstance(item, int) and not isinstance(item, bool):
                self.whole(item, what)
            elif isinstance(item, dict):
                self.mapping(item, what)
                waiting.extend((inner, depth + 1) for inner in item.values())
            elif isinstance(item, list):
                waiting.extend((inner, depth + 1) for inner in item)


def about_from_json(value: object, checked: Checked) -> About:
    """Inverse of :meth:`About.to_json`; FormatError for anything it does not write."""
    names = tuple(About.__dataclass_fields__)
    plain = checked.mapping(value, "the description", names)
    preprocessing = None
    if "preprocessing" in plain:
        try:
            preprocessing = Preprocessing.from_json(
                checked.mapping(plain["preprocessing"], "preprocessing")
            )
        except DataError as problem:
            raise checked.fail(str(problem)) from None
    recipe = checked.mapping(plain.get("recipe", {}), "recipe")
    checked.plain(recipe, "recipe")
    accuracy = checked.mapping(plain.get("accuracy", {}), "accuracy")
    checked.plain(accuracy, "accuracy")
    for name, figure in accuracy.items():
        if isinstance(figure, (dict, list)):
            raise checked.fail(f"accuracy '{name}' is no single value")
    return About(
        preprocessing=preprocessing,
        labels=checked.texts(plain.get("labels", []), "labels", checked.limits.metadata_items),
        recipe=recipe,
        seed=checked.whole(plain.get("seed", 0), "seed"),
        bytes_original=checked.whole(plain.get("bytes_original", 0), "bytes_original", 0),
        accuracy=accuracy,  # type: ignore[arg-type]
        fidelity=_fidelity(plain.get("fidelity", []), checked),
    )


def _fidelity(value: object, checked: Checked) -> tuple[dict[str, Scalar], ...]:
    found: list[dict[str, Scalar]] = []
    for entry in checked.sequence(value, "fidelity", checked.limits.nodes):
        name, *figures = checked.sequence(entry, "an output's fidelity", len(FIDELITY)) or [None]
        output: dict[str, Scalar] = {"output": checked.text(name, "an output's name")}
        checked.plain(figures, "fidelity")
        if len(figures) != len(FIDELITY) - 1:
            raise checked.fail("an output's fidelity has other figures")
        for key, figure in zip(FIDELITY[1:], figures, strict=True):
            if not isinstance(figure, (int, float, type(None))) or isinstance(figure, bool):
                raise checked.fail(f"the {key} of an output is no number")
            output[key] = figure
        found.append(output)
    return tuple(found)
