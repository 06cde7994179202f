"""Second-order information: which errors of a layer's weights matter, and which cancel.

To second order, errors e of one row of weights (what goes into one output) cost e^T H e, with
an H that depends on the layer's inputs only.  Here H is brought into the shape that a
quantiser needs which goes through the columns in order, in either domain: taps or frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule.forms.spectral import dct_basis

ROUNDING = 2.0**-20  # of float32 values that other values went into, relative
LEAST = 1e-12  # of the largest entry of a diagonal: what counts as zero


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
    diagonal, and what :func:`definite` adds.  With ``block``, only columns of the same block
    of so many columns are coupled: memory is columns x block floats.

    With errors e of a row, e^T H e is the sum over columns i of
    pivots[i] * (e[i] + sum over j < i of U[j, i] e[j])^2, so that a quantiser which goes
    through the columns in order sees the whole distortion (Frantar et al., "GPTQ", 2022).

    ValueError: no such shape, or entries that are not finite.

    >>> factor(np.array([[2.0, 1.0], [1.0, 2.0]]), damping=0).pivots.round(4)
    array([[1.5, 2. ]])
    """
    hessian = np.asarray(hessian, np.float64)
    if hessian.ndim == 1:
        return Factor(positive(hessian + damping * max(float(hessian.mean()), 0.0))[None])
    if hessian.ndim == 2:
        hessian = hessian[None]
    if hessian.ndim != 3 or hessian.shape[1] != hessian.shape[2]:
        raise ValueError(f"a Hessian of shape {hessian.shape} is not square")
    groups, columns, _ = hessian.shape
    block = min(block or columns, columns)
    pivots = np.empty((groups, columns))
    spread = np.zeros((groups, columns, block), np.float32)
    mean = np.einsum("gcc->g", hessian) / max(columns, 1)
    extra = damping * np.maximum(mean, 0.0)[:, None, None]
    for first in range(0, columns, block):
        part = slice(first, min(first + block, columns))
        square = hessian[:, part, part] + extra * np.eye(part.stop - first)
        root = _lower(square[:, ::-1, ::-1])[:, ::-1, ::-1]
        diagonal = np.einsum("gcc->gc", root)
        pivots[:, part] = diagonal**2
        spread[:, part, : part.stop - first] = root / diagonal[:, None]
    return Factor(pivots, spread)


def positive(diagonal: np.ndarray) -> np.ndarray:
    """A diagonal in which nothing is zero or below: at least :data:`LEAST` of its largest entry.

    ValueError: entries that are not finite.

    >>> positive(np.array([4.0, 0.0])).tolist(), positive(np.zeros(2)).tolist()
    ([4.0, 4e-12], [1e-12, 1e-12])
    """
    if not np.isfinite(diagonal).all():
        raise ValueError("second-order information that is not finite")
    largest = diagonal.max(axis=-1, keepdims=True, initial=0.0)
    return np.maximum(diagonal, LEAST * np.where(largest > 0, largest, 1.0))


def definite(hessian: np.ndarray) -> np.ndarray:
    """The matrices (..., columns, columns), symmetric, and positive definite beyond rounding.

    Each is brought to correlations, C = S^-1 H S^-1 with S^2 the diagonal of H (see
    :func:`positive`), so that scales do not matter.  Rounding of float32 values can make
    eigenvalues of C wrong by about :data:`ROUNDING` times the root of the number of columns.
    So much is added to all of them: what lies below is not known anyway, and what comes out
    does not hang on the order in which sums were taken.  A matrix with eigenvalues that are
    further below zero is no sum of squares; these are made zero first.

    ValueError: entries that are not finite.

    >>> definite(np.array([[1.0, 1.0], [1.0, 1.0]])).round(4).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    >>> bool(np.linalg.eigvalsh(definite(np.array([[1.0, -3.0], [-3.0, 1.0]])))[0] > 0)
    True
    """
    scale, correlations, _ = _settled(np.asarray(hessian, np.float64))
    return correlations * scale[..., :, None] * scale[..., None, :]


def _lower(hessian: np.ndarray) -> np.ndarray:
    """The lower triangular L with L L^T = :func:`definite` of the matrices."""
    scale, _, root = _settled(hessian)
    return scale[..., None] * root


def _settled(hessian: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(S, C, L): the scales (..., columns), definite correlations, and L L^T = C."""
    columns = hessian.shape[-1]
    if not np.isfinite(hessian).all():
        raise ValueError("second-order information that is not finite")
    scale = np.sqrt(positive(np.einsum("...cc->...c", hessian)))
    correlations = (hessian + np.swapaxes(hessian, -1, -2)) / 2
    correlations /= scale[..., :, None] * scale[..., None, :]
    np.clip(correlations, -1.0, 1.0, out=correlations)  # Cauchy and Schwarz
    noise = ROUNDING * columns**0.5
    diagonal = np.arange(columns)
    correlations[..., diagonal, diagonal] = 1.0 + noise
    try:
        root = np.linalg.cholesky(correlations)
        smallest = float(np.einsum("...cc->...c", root).min(initial=1.0))
    except np.linalg.LinAlgError:
        smallest = 0.0
    if smallest**2 < noise / 2:  # some matrix has eigenvalues below zero, by more than rounding
        correlations = _lifted(correlations, noise)
        root = np.linalg.cholesky(correlations)
    return scale, correlations, root


def _lifted(correlations: np.ndarray, noise: float) -> np.ndarray:
    """The matrices without negative eigenvalues; ``noise`` is in them already."""
    values, vectors = np.linalg.eigh(correlations)
    values = np.maximum(values, noise)
    made = (vectors * values[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    return (made + np.swapaxes(made, -1, -2)) / 2


def whiten(rows: np.ndarray, second: Factor) -> np.ndarray:
    """Values (rows, columns) whose squares add up to e^T H e, for each row e of ``rows``.

    >>> hessian = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> values = whiten(np.array([[1.0, -1.0]]), factor(hessian, damping=0))
    >>> float(np.square(values).sum().round(4))
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
