"""Wavelet: weights as bands of detail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule.forms.base import Form, Shape
from reticule.forms.grids import Grid, along, images_of, misfit
from reticule.forms.lifting import FACTORS, MOST_LEVELS, joined, norms_of, scales, split


@dataclass(frozen=True)
class Wavelet(Form):
    """Coefficients of a wavelet transform of images, in another form.

    At each of ``levels`` levels the lines of the images of ``grid`` are split along x, then
    along y, into a low and a high band (see :mod:`~reticule.forms.lifting`); the next level
    goes on with what is low in both, top left.  ``kind`` is "5/3" or "9/7".

    Both wavelets are biorthogonal only: an error of one in a coefficient makes an error
    of another size in the weights.  So coefficients are stored times the L2 norm of their
    synthesis basis, and one step for all of them treats all bands alike.

    >>> from reticule.forms import Dense
    >>> weights = np.arange(15, dtype="f4").reshape(3, 5)
    >>> there = forward_wavelet(weights, (3, 5), "9/7", 2).astype("f4")
    >>> bool(np.allclose(Wavelet(Dense(there), (3, 5), "9/7", 2).dense(), weights, atol=1e-5))
    True
    """

    coefficients: Form
    grid: Grid
    kind: str
    levels: int

    def __post_init__(self) -> None:
        if fault := misfit(self.shape, self.grid):
            raise ValueError(fault)
        if self.kind not in FACTORS:
            raise ValueError(f"there is no wavelet {self.kind}")
        if not 1 <= self.levels <= MOST_LEVELS:
            raise ValueError(f"{self.levels} levels; 1 to {MOST_LEVELS} are possible")

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        return self.coefficients.shape

    @property
    def name(self) -> str:
        return f"wavelet {self.kind}({self.coefficients.name})"

    @property
    def gain(self) -> float:
        """No weight, and nothing on the way to it, is larger than this times a coefficient."""
        step = 1.0
        for factor in FACTORS[self.kind]:
            step *= 1 + 2 * abs(factor)
        return 4 * step ** (2 * self.levels)

    def restored(self, coefficients: np.ndarray) -> np.ndarray:
        """The weights (float32) of whole images of coefficients, in their shape."""
        images = images_of(coefficients, self.grid) / norms_of(self.grid, self.levels, self.kind)
        sizes = zip(*(scales(length, self.levels, self.kind) for length in self.grid), strict=True)
        for (height, _), (width, _) in reversed(list(sizes)):
            part = images[:, :height, :width]
            part = along(1, lambda x: joined(x, self.kind), part)
            images[:, :height, :width] = joined(part, self.kind)
        return np.ascontiguousarray(images.astype(np.float32)).reshape(coefficients.shape)

    def dense(self) -> np.ndarray:
        return self.restored(self.coefficients.dense())

    @property
    def nonzero(self) -> int:
        return self.coefficients.nonzero

    @property
    def macs(self) -> int:
        """Those of the restored weights."""
        return self.size

    @property
    def bits(self) -> int:
        """Grid at 32 bits, kind and levels at 8, plus the coefficients."""
        return 2 * 32 + 8 + self.coefficients.bits


def forward_wavelet(weights: np.ndarray, grid: Grid, kind: str, levels: int) -> np.ndarray:
    """Coefficients (float64, in the weights' shape)."""
    images = images_of(weights, grid).copy()
    sizes = zip(*(scales(length, levels, kind) for length in grid), strict=True)
    for (height, _), (width, _) in sizes:
        part = split(images[:, :height, :width], kind)
        images[:, :height, :width] = along(1, lambda x: split(x, kind), part)
    return (images * norms_of(grid, levels, kind)).reshape(weights.shape)
