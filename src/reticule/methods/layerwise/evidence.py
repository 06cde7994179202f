"""What some images say of a layer's inputs, and what has to be taken for granted.

Weights e off their values cost e^T H e, H = E[x x^T] over the inputs x of *images to come*.  All
that is known are n images.  Their positions see much the same, so that n counts images that
differ (:func:`distinct`), not samples.  Let S be the covariance that they show, m their mean
and a what is expected before any image: inputs that do not depend on each other, each with the
energy that it has shown (D = diag E[x^2]).  If that counts as PRIOR images, the covariance to
expect is (conjugate prior of a normal distribution: inverse Wishart)

    H = (n S + PRIOR D) / (n + PRIOR)

One image decides a fifth of it; thousands nearly all.  Two things are added:

* *Silent inputs.*  An input that never varied (a dead channel, a pixel of the frame) shows no
  energy about its mean at all, but other images will come.  With n images the chance that one
  to come is the first to move it is about 1 / (n + 2) (Laplace's rule of succession), and then
  it has the energy T that inputs of this layer have.  To be careful, SILENT images are asked
  for before that is believed: SILENT / (n + SILENT) T, for inputs whose variance is far below
  VARIES T.
* *The mean.*  About the mean H is S only if the bias takes care of it, which it does as far as
  the mean can be trusted (:func:`~reticule.tuning.evidence.trust`).  What is left
  counts with its square.

The same quantities stand in the least squares of a target (:func:`target_of`): what is
expected holds the weights where they were, and with one image nothing moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reticule.codec.second_order import definite
from reticule.methods.quantise.calibration import Seen
from reticule.tuning.evidence import trust

PRIOR = 4.0  # images
SILENT = 16.0  # images
VARIES = 1e-3  # of the typical energy
RIDGE = 0.05  # of the mean diagonal: how much a target may lean on single images

Matrix = NDArray[np.float64]


def matter(importance: Matrix, images: int) -> Matrix:
    """The importance of channels (channels,) for images to come: near their mean for a few."""
    share = images / (images + PRIOR)
    return np.asarray(share * importance + (1 - share) * importance.mean())


class Moments:
    """Sums over samples of x, y, x x^T and y x^T; and of e x^T for errors e, if there are any.

    x (now) and y (then) are what a layer sees; with ``diagonal`` only squares are kept.
    """

    def __init__(self, diagonal: bool) -> None:
        self._diagonal = diagonal
        self._count = 0
        self._sums: list[Tensor] = []

    def add(self, x: Seen, y: Seen, error: Seen | None = None) -> None:
        """``error`` is what the outputs lack at these samples: (groups, samples, rows)."""
        self._count += x.rows.shape[1]
        square = x.rows.square().sum(1) if self._diagonal else x.moment()
        cross = square if y is x or self._diagonal else y.moment(x)
        parts = [x.rows.sum(1), y.rows.sum(1), square, cross]
        if error is not None:
            parts += [error.rows.sum(1), error.moment(x)]
        if not self._sums:
            self._sums = [part.double() for part in parts]
            return
        for total, part in zip(self._sums, parts, strict=True):
            total += part

    def result(self, centre: bool) -> Averages:
        """About the means if ``centre``; a mean diagonal if wide."""
        x, y, square, cross, *more = (part.numpy() / self._count for part in self._sums)
        raw = square if self._diagonal else np.einsum("gcc->gc", square)
        spread = np.maximum(raw - x**2, 0)
        if self._diagonal:
            raw, spread = raw.mean(0, keepdims=True), spread.mean(0, keepdims=True)
            diagonal = spread[0] if centre else raw[0]
            return Averages(diagonal, diagonal, None, x, y, raw, spread, centre)
        error = more[1] if more else None
        if centre:
            square = square - x[:, :, None] * x[:, None, :]
            cross = cross - y[:, :, None] * x[:, None, :]
            if error is not None:
                error = error - more[0][:, :, None] * x[:, None, :]
        return Averages(square, cross, error, x, y, raw, spread, centre)


@dataclass(frozen=True)
class Averages:
    """E[x x^T] or its diagonal, E[y x^T] and E[e x^T]; E[x] and E[y] (groups, columns).

    ``energy`` and ``spread`` are E[x^2] and the variances (groups, columns).  With
    ``centred`` the first three are about the means.
    """

    square: Matrix
    cross: Matrix
    error: Matrix | None
    mean: Matrix
    mean_then: Matrix
    energy: Matrix
    spread: Matrix
    centred: bool

    def mixed(self, own: float, other: Averages, share: float) -> Averages:
        """``own`` times this plus ``share`` times the other; with the means of the other."""
        error = None
        if self.error is not None and other.error is not None:
            error = own * self.error + share * other.error
        return Averages(
            own * self.square + share * other.square,
            own * self.cross + share * other.cross,
            error,
            other.mean,
            other.mean_then,
            own * self.energy + share * other.energy,
            own * self.spread + share * other.spread,
            self.centred,
        )

    def expected(self, images: int) -> Averages:
        """For images to come, where these show so many that differ."""
        share = images / (images + PRIOR)
        prior = (1 - share) * self.energy + self._silent(images)
        error = None if self.error is None else share * self.error
        if self.square.ndim == 1:
            square = share * self.square + prior.mean(axis=0)
            cross = square
        else:
            square, cross = share * self.square, share * self.cross
            if self.centred:
                left = (1 - trust(images)) ** 2 * share
                square += left * self.mean[:, :, None] * self.mean[:, None, :]
                cross += left * self.mean_then[:, :, None] * self.mean[:, None, :]
            diagonal = np.arange(square.shape[-1])
            square[:, diagonal, diagonal] += prior
            cross[:, diagonal, diagonal] += prior
        return Averages(
            square, cross, error, self.mean, self.mean_then, self.energy, self.spread, self.centred
        )

    def _silent(self, images: int) -> Matrix:
        """What is expected of inputs that never varied (groups, columns)."""
        each = _usual(self.energy)
        whole = float(_usual(each.T)[0, 0]) or 1.0
        typical = each + whole * VARIES / (VARIES + each / whole)
        doubt = SILENT / (images + SILENT)
        return np.asarray(doubt * typical * VARIES / (VARIES + self.spread / typical))


def _usual(energy: Matrix) -> Matrix:
    """The mean of each row (rows, 1) over what is not next to nothing beside the others."""
    mean = np.maximum(energy.mean(axis=1, keepdims=True), 1e-300)
    lives = energy / (energy + VARIES * mean)
    return np.asarray(
        (lives * energy).sum(1, keepdims=True) / np.maximum(lives.sum(1), 1e-300)[:, None]
    )


def target_of(
    weights: Matrix,
    hessian: Matrix,
    cross: Matrix,
    error: Matrix | None = None,
    ridge: float = RIDGE,
) -> Matrix:
    """argmin over V of E|W y + e - V x|^2 + ridge |V - W|^2, group by group.

    ``cross`` is E[y x^T], ``error`` E[e x^T] (groups, rows, columns); ``ridge`` counts in
    mean diagonals of H.
    """
    groups, columns, _ = hessian.shape
    rows = weights.reshape(groups, -1, columns)
    ridges = ridge * np.trace(hessian, axis1=1, axis2=2) / columns
    solved = np.empty_like(rows)
    for g in range(groups):
        matrix = definite(hessian[g] + ridges[g] * np.eye(columns))
        right = rows[g] @ (cross[g] - hessian[g])
        if error is not None:
            right = right + error[g]
        solved[g] = rows[g] + np.linalg.solve(matrix, right.T).T
    return solved.reshape(weights.shape)
