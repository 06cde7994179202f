"""What a network can be run on: data sets, or arrays that are ready."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from reticule.data import Preprocessing


class Inputs(Protocol):
    """What :class:`reticule.Data` and :class:`Arrays` have in common."""

    @property
    def labelled(self) -> bool: ...

    @property
    def labels(self) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def inputs(self, indices: Any) -> tuple[np.ndarray, ...]: ...

    def input_batches(self, size: int) -> Iterator[tuple[np.ndarray, ...]]: ...


@dataclass(frozen=True)
class Arrays:
    """One array for each input of a network, batch first; labels (n,) if there are any.

    With a ``preprocessing`` the only array holds pixels, uint8 (n, C, H, W).
    """

    arrays: tuple[np.ndarray, ...]
    known: np.ndarray | None = None
    preprocessing: Preprocessing | None = None

    def __len__(self) -> int:
        return len(self.arrays[0])

    @property
    def labelled(self) -> bool:
        return self.known is not None

    @property
    def labels(self) -> np.ndarray:
        return np.zeros(0, np.int64) if self.known is None else self.known

    def inputs(self, indices: Any) -> tuple[np.ndarray, ...]:
        """The inputs at the given positions, as the network takes them."""
        parts = tuple(array[indices] for array in self.arrays)
        return parts if self.preprocessing is None else (self.preprocessing.apply(parts[0]),)

    def input_batches(self, size: int) -> Iterator[tuple[np.ndarray, ...]]:
        """All inputs in order; the last batch may be smaller."""
        for start in range(0, len(self), size):
            yield self.inputs(np.arange(start, min(start + size, len(self))))
