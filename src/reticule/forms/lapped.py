"""Lapped: weights as frequencies of blocks that overlap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import sqrt

import numpy as np

from reticule.forms.base import Form, Shape
from reticule.forms.grids import Grid, along, cosine, images_of, misfit

LARGEST_BLOCK = 64


@dataclass(frozen=True)
class Lapped(Form):
    """Coefficients of a modulated lapped transform (MDCT) of images, in another form.

    Both axes of the images of ``grid`` are cut into blocks of ``block`` samples, the last one
    shorter where that does not divide.  At every boundary inside, the samples x[b-1-i] and
    x[b+i] are rotated into each other by the sine window of the smaller neighbour,

        u[b-1-i] = s x[b-1-i] - c x[b+i],  u[b+i] = s x[b+i] + c x[b-1-i],
        s = sin(pi (2v + 2i + 1) / 8v),  c = cos(pi (2v + 2i + 1) / 8v),  i < v,

    v being half the smaller block; then each block of u gets an orthonormal DCT-IV.  Inside
    that is the MDCT (aliasing cancels in time); at the ends there is no overlap.  So there
    are as many coefficients as samples whatever the length, and the transform is orthonormal.

    Source: Princen and Bradley, 1986 (time-domain aliasing cancellation); Malvar, "Lapped
    transforms for efficient transform/subband coding", 1990.

    >>> from reticule.forms import Dense
    >>> weights = np.arange(15, dtype="f4").reshape(3, 5)
    >>> there = forward_lapped(weights, (3, 5), 2).astype("f4")
    >>> bool(np.allclose(Lapped(Dense(there), (3, 5), 2).dense(), weights, atol=1e-5))
    True
    """

    coefficients: Form
    grid: Grid
    block: int

    def __post_init__(self) -> None:
        if fault := misfit(self.shape, self.grid):
            raise ValueError(fault)
        if not 2 <= self.block <= LARGEST_BLOCK:
            raise ValueError(f"blocks of {self.block}; 2 to {LARGEST_BLOCK} are possible")

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        return self.coefficients.shape

    @property
    def name(self) -> str:
        return f"lapped{self.block}({self.coefficients.name})"

    @property
    def gain(self) -> float:
        """No weight, and nothing on the way to it, is larger than this times a coefficient."""
        return 4.0 * self.block**2

    def restored(self, coefficients: np.ndarray) -> np.ndarray:
        """The weights (float32) of whole images of coefficients, in their shape."""
        images = images_of(coefficients, self.grid)
        images = along(1, lambda x: synthesis(x, self.block), images)
        weights = synthesis(images, self.block).astype(np.float32)
        return np.ascontiguousarray(weights).reshape(coefficients.shape)

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
        """Grid and block at 32 and 8 bits, plus the coefficients."""
        return 2 * 32 + 8 + self.coefficients.bits


def forward_lapped(weights: np.ndarray, grid: Grid, block: int) -> np.ndarray:
    """Coefficients (float64, in the weights' shape): first along x, then along y."""
    images = analysis(images_of(weights, grid), block)
    images = along(1, lambda x: analysis(x, block), images)
    return np.ascontiguousarray(images).reshape(weights.shape)


def analysis(samples: np.ndarray, block: int) -> np.ndarray:
    """Coefficients of the last axis (float64)."""
    return _by_blocks(_rotated(samples, block, 1.0), block, lambda x: x @ dct4_basis(x.shape[-1]))


def synthesis(coefficients: np.ndarray, block: int) -> np.ndarray:
    """Inverse of :func:`analysis`; every product and every sum is rounded on its own."""
    return _rotated(_by_blocks(coefficients, block, _dct4), block, -1.0)


def _by_blocks(
    x: np.ndarray, block: int, transform: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """A transform of each block of the last axis."""
    whole = x.shape[-1] - x.shape[-1] % block
    out = np.empty(x.shape)
    if whole:
        parts = x[..., :whole].reshape(*x.shape[:-1], -1, block)
        out[..., :whole] = transform(parts).reshape(*x.shape[:-1], whole)
    if whole < x.shape[-1]:
        out[..., whole:] = transform(x[..., whole:])
    return out


def _dct4(spectrum: np.ndarray) -> np.ndarray:
    """The DCT-IV of the last axis, its own inverse, in the order of rising frequency."""
    basis = dct4_basis(spectrum.shape[-1])
    samples = spectrum[..., :1] * basis[0]
    for k in range(1, spectrum.shape[-1]):
        samples = samples + spectrum[..., k : k + 1] * basis[k]
    return samples


def _rotated(x: np.ndarray, block: int, sign: float) -> np.ndarray:
    """The samples after the rotations at all inner boundaries; ``sign`` -1 undoes them.

    Boundaries do not touch each other's samples: a block gives each of its two at most half.
    """
    out = np.array(x, np.float64)
    whole = x.shape[-1] - x.shape[-1] % block
    if whole > block:
        parts = out[..., :whole].reshape(*x.shape[:-1], -1, block)  # a view: lines are contiguous
        _rotate(parts[..., :-1, :], parts[..., 1:, :], block // 2, sign)
        out[..., :whole] = parts.reshape(*x.shape[:-1], whole)
    if 0 < whole < x.shape[-1]:
        rest = x.shape[-1] - whole
        _rotate(out[..., whole - block : whole], out[..., whole:], min(block, rest) // 2, sign)
    return out


def _rotate(left: np.ndarray, right: np.ndarray, half: int, sign: float) -> None:
    """The last samples of left blocks with the first of right ones, in place."""
    if not half:
        return
    sines, cosines = window(half)
    cosines = sign * cosines
    before, behind = left[..., -half:][..., ::-1], right[..., :half]
    turned = sines * before - cosines * behind, sines * behind + cosines * before
    left[..., -half:], right[..., :half] = turned[0][..., ::-1], turned[1]


@cache
def window(half: int) -> tuple[np.ndarray, np.ndarray]:
    """sin and cos of pi (2v + 2i + 1) / 8v for i < v = ``half`` (float64)."""
    angles = [2 * half + 2 * i + 1 for i in range(half)]
    sines = [cosine(4 * half - angle, 8 * half) for angle in angles]
    return np.array(sines), np.array([cosine(angle, 8 * half) for angle in angles])


@cache
def dct4_basis(size: int) -> np.ndarray:
    """The orthonormal DCT-IV: row k holds sqrt(2 / n) cos(pi (2k + 1) (2x + 1) / 4n).

    >>> bool(np.allclose(dct4_basis(5) @ dct4_basis(5), np.eye(5), atol=1e-15))
    True
    """
    if size == 1:
        return np.ones((1, 1))
    scale = sqrt(2 / size)
    table = {a: scale * cosine(a, 4 * size) for a in range(1, 8 * size, 2)}
    rows = [
        [table[(2 * k + 1) * (2 * x + 1) % (8 * size)] for x in range(size)] for k in range(size)
    ]
    return np.array(rows)
