"""The best weights of a layer for a mask: least squares, row by row."""

from __future__ import annotations

import numpy as np

WIDEST = 1024  # columns that are solved for together
MOST_ENTRIES = 1 << 22  # of the matrices that are solved together
SWEEPS = 4  # over the blocks of a layer that is too wide for one


def reconstruct(
    target: np.ndarray, hessian: np.ndarray, mask: np.ndarray, widest: int = WIDEST
) -> np.ndarray:
    """argmin over v of (v - t)^T H (v - t) for each row t of the target, v zero off the mask.

    ``target`` and ``mask`` (rows, columns), H (columns, columns) positive definite.  With S
    the columns that a row keeps, H_SS v_S = (H t)_S.  More than ``widest`` columns are solved
    in blocks, in turn, which comes close.

    >>> hessian = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> reconstruct(np.array([[1.0, 1.0]]), hessian, np.array([[True, False]]))
    array([[1.5, 0. ]])
    """
    columns = target.shape[1]
    if columns <= widest:
        return _solved(target @ hessian, hessian, mask)
    blocks = [slice(first, first + widest) for first in range(0, columns, widest)]
    right, solved = target @ hessian, target * mask
    for _ in range(SWEEPS):
        for at in blocks:
            own = hessian[at, at]
            others = right[:, at] - solved @ hessian[:, at] + solved[:, at] @ own
            solved[:, at] = _solved(others, own, mask[:, at])
    return solved


def _solved(right: np.ndarray, hessian: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """H_SS v_S = b_S for each row b; rows that keep about as many are solved together."""
    kept = mask.sum(axis=1)
    solved = np.zeros(right.shape)
    order = np.argsort(kept, kind="stable")
    order = order[kept[order] > 0]
    while order.size:
        width = int(kept[order[-1]])
        count = max(1, MOST_ENTRIES // width**2)
        rows, order = order[-count:], order[:-count]
        at, real, matrix = restricted(hessian, mask[rows], width)
        value = np.linalg.solve(matrix, (np.take_along_axis(right[rows], at, 1) * real)[:, :, None])
        solved[rows[:, None], at] = value[:, :, 0] * real
    return solved


def restricted(
    hessian: np.ndarray, mask: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """H_SS of each row (rows, width, width), filled up with rows of the unit matrix.

    Before it the columns, those in S first in their order, and which of them are in S, both
    (rows, width).

    >>> at, real, matrix = restricted(np.full((3, 3), 5.0), np.array([[False, True, False]]), 2)
    >>> at.tolist(), real.tolist(), matrix.tolist()
    ([[1, 0]], [[True, False]], [[[5.0, 0.0], [0.0, 1.0]]])
    """
    at = np.argsort(~mask, axis=1, kind="stable")[:, :width]
    real = np.take_along_axis(mask, at, 1)
    matrix = hessian[at[:, :, None], at[:, None, :]]
    matrix *= real[:, :, None] & real[:, None, :]
    matrix[:, np.arange(width), np.arange(width)] += ~real
    return at, real, matrix
