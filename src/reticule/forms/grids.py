"""Grids: weights read as images, and the axes of those transformed.

A *grid* (height, width) says how a transform reads a tensor: its weights, in C order, are
images of so many rows and columns, one after the other.  So one rule covers the kernels of a
convolution (kh, kw), the pixels that a row of a linear layer looks at (28, 28), a row (1,
columns), and a whole matrix (rows, columns).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod

import numpy as np

from reticule.forms.base import Shape

Grid = tuple[int, int]
LARGEST_WEIGHT = float(np.finfo(np.float32).max)

_SCALE = 192
_PI = 0x3243F6A8885A308D313198A2E03707344A4093822299F31D0  # times 2^-192


def misfit(shape: Shape, grid: Grid) -> str:
    """Why a grid cannot be that of a shape, or the empty string.

    >>> misfit((20, 1, 5, 5), (5, 5)), misfit((3, 4), (5, 1))
    ('', '12 weights are no images of 5 x 1')
    """
    height, width = grid
    size = prod(shape)
    fits = height >= 1 and width >= 1 and height * width <= max(size, 1)
    if not fits or size % (height * width):
        return f"{size} weights are no images of {height} x {width}"
    return ""


def images_of(values: np.ndarray, grid: Grid) -> np.ndarray:
    """A float64 view or copy (images, height, width)."""
    count = values.size // (grid[0] * grid[1])
    return values.astype(np.float64).reshape(count, *grid)


def along(axis: int, transform: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """A transform of the last axis, applied along another one."""
    return np.swapaxes(transform(np.swapaxes(x, axis, -1)), axis, -1)


def largest_of(values: np.ndarray) -> float:
    return float(max(values.max(initial=0), -values.min(initial=0)))


@cache
def cosine(numerator: int, denominator: int) -> float:
    """cos(pi * numerator / denominator), rounded to the nearest float64.

    By integers of 192 bits, as the cosines of C libraries differ in their last bit.

    >>> cosine(1, 3), cosine(1, 2), cosine(7, 1)
    (0.5, 0.0, -1.0)
    """
    turn = numerator % (2 * denominator)
    if 2 * turn == denominator or 2 * turn == 3 * denominator:
        return 0.0
    angle = _PI * min(turn, 2 * denominator - turn) // denominator
    square = angle * angle >> _SCALE
    term = total = 1 << _SCALE
    order = 0
    while term:
        order += 2
        term = (term * square >> _SCALE) // (order * (order - 1))
        total += -term if order % 4 else term
    return total / (1 << _SCALE)
