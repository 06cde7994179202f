"""What the user allows: points of accuracy, percent of error, bytes, minutes.

Accuracy and error are counted against the network that was given, over the whole recipe, and
whatever is asked for must hold together.

>>> budget = Budget(max_error=5.0, max_bytes=1000)
>>> budget.broken(drop=None, error=4.2, size=1200)
['1,200 bytes, at most 1,000 allowed']
>>> budget.broken(drop=None, error=4.2, size=900), Budget().asked
([], False)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from reticule.errors import RecipeError

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Budget:
    """``max_drop`` is in points of top-1 accuracy, ``max_error`` in percent (see
    :mod:`reticule.evaluation.fidelity`), ``max_bytes`` of the whole file; ``minutes`` is about
    what all training may take.  None: no limit.
    """

    max_drop: float | None = None
    max_error: float | None = None
    max_bytes: int | None = None
    minutes: float | None = None

    def check(self) -> Budget:
        """This budget; RecipeError for one that nobody can keep."""
        drop, error, minutes = self.max_drop, self.max_error, self.minutes
        if drop is not None and not 0 <= drop <= 100:
            raise RecipeError(f"max_drop is {drop}; it must be between 0 and 100 points")
        if error is not None and not 0 < error <= 100:
            raise RecipeError(f"max_error is {error}; it must be above 0 and at most 100 percent")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise RecipeError(f"max_bytes is {self.max_bytes}; a file has at least one byte")
        if minutes is not None and not 0 < minutes < math.inf:
            raise RecipeError(f"minutes is {minutes}; training needs some time, 1 for a first try")
        return self

    @property
    def asked(self) -> bool:
        """Whether anything is asked of the result."""
        return not (self.max_drop is None and self.max_error is None and self.max_bytes is None)

    def broken(self, drop: float | None, error: float | None, size: int) -> list[str]:
        """What is not kept, in words; a figure that is None was not measured."""
        found = []
        if self.max_drop is not None and drop is not None and drop > self.max_drop + _ROUNDING:
            found.append(f"{drop:.2f} points lost, at most {self.max_drop:g} allowed")
        most = self.max_error
        if most is not None and error is not None and not error <= most + _ROUNDING:
            found.append(f"an error of {error:.2f} %, at most {most:g} % allowed")
        if self.max_bytes is not None and size > self.max_bytes:
            found.append(f"{size:,} bytes, at most {self.max_bytes:,} allowed")
        return found

    def met(self, drop: float | None, error: float | None, size: int) -> bool | None:
        """Whether all of it was kept; None where nothing that was measured was asked for."""
        known = (
            (self.max_drop is not None and drop is not None)
            or (self.max_error is not None and error is not None)
            or self.max_bytes is not None
        )
        return not self.broken(drop, error, size) if known else None
