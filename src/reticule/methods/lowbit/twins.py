"""Twins of weights in one or two bits: latent weights, rounded in every forward pass.

A latent weight is a float that collects gradient steps until it crosses a threshold.  Its
gradient is that of the rounded weight, as if rounding were the identity (the
straight-through estimator), where a method has no rule of its own.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

import reticule.methods.prune.twins  # noqa: F401  sparse values may be scaled
from reticule.forms import Codebook, Dense, Form, Quantised, Scaled, Sparse, matrix_shape
from reticule.tuning.twins import TWINS, FixedTwin, Twin, array, leaf, twin_of


class _StraightThrough(torch.autograd.Function):
    """``levels``, as a function of ``latent`` whose derivative is ``slope``."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, levels: Tensor, slope: Tensor | None) -> Tensor:
        ctx.save_for_backward(*(() if slope is None else (slope,)))
        return levels.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return (gradient * ctx.saved_tensors[0] if ctx.saved_tensors else gradient), None, None


def straight_through(latent: Tensor, levels: Tensor, slope: Tensor | None = None) -> Tensor:
    """The levels; the latent weights get their gradient, times ``slope`` (none: 1)."""
    return _StraightThrough.apply(latent, levels, slope)


class LatentTwin(Twin):
    """Latent weights, in units of ``unit`` (broadcast over the tensor), under a mask."""

    def __init__(self, weights: np.ndarray, unit: np.ndarray, kept: np.ndarray | None) -> None:
        self._unit = torch.from_numpy(np.array(unit, np.float32))
        self._kept = kept
        self._mask = None if kept is None else torch.from_numpy(kept.astype(np.float32))
        self.latent = leaf(weights / unit)

    @abstractmethod
    def tensor(self) -> Tensor: ...

    def parameters(self) -> list[Tensor]:
        return [self.latent]

    def clip(self) -> None:
        """After a step: bring latent weights back to where they may be."""

    def masked(self, values: Tensor) -> Tensor:
        """What was pruned stays zero."""
        return values if self._mask is None else values * self._mask

    def latent_values(self) -> np.ndarray:
        """The latent weights as they are now, in the weights' own unit, zero where masked."""
        values = array(self.latent) * array(self._unit)
        return values if self._kept is None else values * self._kept


class ScaledTwin(Twin):
    """Values times scales, both under training; levels, which have no others, stay."""

    def __init__(self, form: Scaled) -> None:
        inner = form.values.values if isinstance(form.values, Sparse) else form.values
        levels = isinstance(inner, Quantised)
        self._values = FixedTwin(form.values) if levels else twin_of(form.values)
        self._scales = twin_of(form.scales)
        self._spread = (-1, *[1] * (len(form.shape) - 1))

    def tensor(self) -> Tensor:
        return self._values.tensor() * self._scales.tensor().reshape(self._spread)

    def parameters(self) -> list[Tensor]:
        return self._values.parameters() + self._scales.parameters()

    def form(self) -> Scaled:
        return Scaled(self._values.form(), self._scales.form())


TWINS[Scaled] = ScaledTwin


def kept_of(form: Form) -> np.ndarray | None:
    """The mask of a pruned form; None where every weight is free."""
    return form.mask() if isinstance(form, Sparse) else None


def rows_of(weights: np.ndarray) -> np.ndarray:
    """The matrix (a view) with an output channel in each row."""
    return weights.reshape(matrix_shape(weights.shape))


def over_rows(scales: np.ndarray, rank: int) -> np.ndarray:
    """Scales (rows,), or (1,), in a shape that spreads over a tensor of so many axes."""
    return scales.reshape(-1, *[1] * (rank - 1))


def mean_size(weights: np.ndarray, kept: np.ndarray | None, by_channel: bool) -> np.ndarray:
    """Mean of |w| over what is kept: float32 (rows,), or (1,) for the whole layer.

    That is the scale at which signs are nearest to the weights in least squares.

    >>> mean_size(np.array([[1.0, -3.0], [0.0, 0.0]]), None, True).tolist()
    [2.0, 0.0]
    """
    sizes = np.abs(rows_of(weights).astype(np.float64))
    counts = np.ones_like(sizes) if kept is None else rows_of(kept).astype(np.float64)
    if not by_channel:
        sizes, counts = sizes.reshape(1, -1), counts.reshape(1, -1)
    return (sizes.sum(1) / np.maximum(counts.sum(1), 1)).astype(np.float32)


def positive(scales: np.ndarray) -> np.ndarray:
    """The scales, 1 instead of 0, to divide by."""
    return np.where(scales > 0, scales, 1.0).astype(np.float32)


def halved(scales: np.ndarray) -> Dense:
    """Scales in float16, or in float32 where that would lose or change them."""
    with np.errstate(over="ignore"):
        half = scales.astype(np.float16)
    exact = np.abs(half.astype(np.float32) - scales) <= 2e-3 * np.abs(scales)
    return Dense(half if exact.all() else scales.astype(np.float32))


def scaled(levels: np.ndarray, scales: np.ndarray, kept: np.ndarray | None = None) -> Form:
    """Levels (small integers) times scales of rows; under a mask only what is kept is stored.

    >>> scaled(np.array([[1, -1]]), np.array([0.5], "f4")).dense().tolist()
    [[0.5, -0.5]]
    """
    if kept is None:
        values: Form = Quantised(levels, 1.0)
    else:
        values = Sparse.at(kept, Quantised(levels[kept], 1.0))
    return Scaled(values, halved(scales))


def shared(indices: np.ndarray, table: np.ndarray, kept: np.ndarray | None = None) -> Form:
    """Indices into a table, which is kept in float16 if that is good enough."""
    if kept is None:
        return Codebook(indices, halved(table))
    return Sparse.at(kept, Codebook(indices[kept], halved(table)))
