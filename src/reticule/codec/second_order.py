"""Second-order information: which errors of a layer's weights matter, and which cancel.

To second order, errors e of one row of weights (what goes into one output) cost e^T H e, with
an H that depends on the layer's inputs only.  Here H is brought into the shape that a
quantiser needs which goes through the columns in order, in either domain: taps or frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule.forms.spectral import dct_basis


@dataclass(frozen=True)
class Factor:
    """H = U diag(pivots) U^T of one or more matrices H, with U upper triangular, ones on it.

    ``pivots`` (factors, columns) float64; ``spread`` (factors, columns, block) float32 or
    None for a diagonal H: row j holds U[j, k] at k mod ``block`` for the columns k > j of
    its block.  The rows of a tensor share the factors evenly, in order.
    """

    pivots: np.ndarray
    spread: np.ndarray | None = None

    @property
    def block(self) -> int:
        return 1 if self.spread is None else self.spread.shape[2]


def factor(hessian: np.ndarray, damping: float = 0.01, block: int | None = None) -> Factor:
    """Second-order information as error feedback wants it.

    ``hessian``: (columns,) a diagonal; (columns, columns); or (groups, columns, columns), one
    matrix for each of so many equal groups of rows.  For a layer with inputs X (samples,
    columns) it is X^T X / samples.  ``damping`` times the mean of the diagonal is added to the
    diagonal.  With ``block``, only columns of the same block of so many columns are
    coupled: memory is columns x block floats.

    With errors e of a row, e^T H e is the sum over columns i of
    pivots[i] * (e[i] + sum over j < i of U[j, i] e[j])^2, so that a quantiser which goes
    through the columns in order sees the whole distortion (Frantar et al., "GPTQ", 2022).

    ValueError: no such shape, or a matrix that is not positive definite after damping.

    >>> factor(np.array([[2.0, 1.0], [1.0, 2.0]]), damping=0).pivots
    array([[1.5, 2. ]])
    """
    hessian = np.asarray(hessian, np.float64)
    if hessian.ndim == 1:
        return Factor((hessian + damping * hessian.mean())[None])
    if hessian.ndim == 2:
        hessian = hessian[None]
    if hessian.ndim != 3 or hessian.shape[1] != hessian.shape[2]:
        raise ValueError(f"a Hessian of shape {hessian.shape} is not square")
    groups, columns, _ = hessian.shape
    block = min(block or columns, columns)
    pivots = np.empty((groups, columns))
    spread = np.zeros((groups, columns, block), np.float32)
    for g in range(groups):
        extra = damping * np.trace(hessian[g]) / max(columns, 1)
        for first in range(0, columns, block):
            part = slice(first, min(first + block, columns))
            square = hessian[g, part, part] + extra * np.eye(part.stop - first)
            root = _upper(square)
            diagonal = np.diagonal(root)
            pivots[g, part] = diagonal**2
            spread[g, part, : len(root)] = root / diagonal
    return Factor(pivots, spread)


def _upper(matrix: np.ndarray) -> np.ndarray:
    """The upper triangular R with R R^T = matrix."""
    try:
        return np.linalg.cholesky(matrix[::-1, ::-1])[::-1, ::-1]
    except np.linalg.LinAlgError:
        raise ValueError("the Hessian is not positive definite; more damping helps") from None


def whiten(rows: np.ndarray, second: Factor) -> np.ndarray:
    """Values (rows, columns) whose squares add up to e^T H e, for each row e of ``rows``.

    >>> hessian = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> float(np.square(whiten(np.array([[1.0, -1.0]]), factor(hessian, damping=0))).sum())
    2.0
    """
    groups, columns = second.pivots.shape
    split = rows.astype(np.float64).reshape(groups, -1, columns)
    mixed = split.copy()
    if second.spread is not None:
        for first in range(0, columns, second.block):
            last = min(first + second.block, columns)
            upper = np.triu(second.spread[:, first:last, : last - first], 1)
            mixed[:, :, first:last] += split[:, :, first:last] @ upper
    return (mixed * np.sqrt(second.pivots)[:, None]).reshape(rows.shape)


def forward_dct(weights: np.ndarray) -> np.ndarray:
    """Two-dimensional DCT-II (orthonormal, float64) over the last two axes.

    :func:`reticule.forms.spectral.inverse_dct` is the way back.

    >>> float(forward_dct(np.ones((1, 1, 3, 3)))[0, 0, 0, 0].round(6))
    3.0
    """
    along_y, along_x = dct_basis(weights.shape[-2]), dct_basis(weights.shape[-1])
    return along_y @ weights.astype(np.float64) @ along_x.T


def dct_hessian(hessian: np.ndarray, height: int, width: int) -> np.ndarray:
    """T H T^T: the Hessian (..., columns, columns) of kernels' coefficients.

    ``columns`` are channels of ``height`` x ``width`` taps; T transforms each channel.
    """
    once = np.kron(dct_basis(height), dct_basis(width))
    taps = height * width
    *groups, columns, _ = hessian.shape
    if columns % taps:
        raise ValueError(f"{columns} columns are no kernels of {height} x {width}")
    channels = columns // taps
    cut = hessian.reshape(*groups, channels, taps, channels, taps)
    return np.einsum("ut,...itjs,vs->...iujv", once, cut, once, optimize=True).reshape(
        hessian.shape
    )
