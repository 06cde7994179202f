"""Codebook: weights that share a few values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule.forms.base import Form, Shape, frozen, smallest_uint


@dataclass(frozen=True, eq=False)
class Codebook(Form):
    """Each weight is an index into a table of centroids (weight sharing).

    ``indices`` is an unsigned array in the tensor's shape, ``centroids`` a form of
    shape (k,).  An empty tensor may have an empty table.

    >>> from reticule.forms import Dense
    >>> table = Dense(np.array([-1.0, 0.5], "f4"))
    >>> Codebook(np.array([[0, 1], [1, 1]], "u1"), table).dense()
    array([[-1. ,  0.5],
           [ 0.5,  0.5]], dtype=float32)
    """

    indices: np.ndarray
    centroids: Form

    def __post_init__(self) -> None:
        if len(self.centroids.shape) != 1:
            raise ValueError("centroids must be one-dimensional")
        k = self.centroids.shape[0]
        if self.indices.size and (self.indices.min() < 0 or self.indices.max() >= k):
            raise ValueError(f"an index points outside of {k} centroids")
        narrow = self.indices.astype(smallest_uint(k - 1), copy=False)
        object.__setattr__(self, "indices", frozen(narrow))

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        return tuple(self.indices.shape)

    @property
    def name(self) -> str:
        return f"codebook{self.centroids.shape[0]}"

    def dense(self) -> np.ndarray:
        return self.centroids.dense()[self.indices]

    @property
    def nonzero(self) -> int:
        counts = np.bincount(self.indices.ravel(), minlength=self.centroids.shape[0])
        return int(counts[self.centroids.dense() != 0].sum())

    @property
    def bits(self) -> int:
        width = max(self.centroids.shape[0] - 1, 0).bit_length()
        return self.size * width + self.centroids.bits
