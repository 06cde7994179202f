"""What a form is: one weight tensor, represented in some way.

A form is an immutable value.  It can restore the tensor, say how large it is
before entropy coding, and how many multiplications it takes to apply.  Forms
nest: a :class:`~reticule.forms.Sparse` form keeps its surviving values in
another form, and a :class:`~reticule.forms.Codebook` its centroids.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod

import numpy as np

Shape = tuple[int, ...]


class Form(ABC):
    """One weight tensor in some representation."""

    shape: Shape

    @property
    def size(self) -> int:
        """Number of weights that the form stands for."""
        return prod(self.shape)

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name as shown by ``inspect``, e.g. ``sparse(codebook16)``."""

    @abstractmethod
    def dense(self) -> np.ndarray:
        """The weights: a float32 array of the form's shape."""

    @property
    @abstractmethod
    def nonzero(self) -> int:
        """Number of weights that are not zero by construction."""

    @property
    @abstractmethod
    def bits(self) -> int:
        """Size in bits at fixed width: before any entropy coding, side information included."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one application of the whole tensor (one output position)."""
        return self.nonzero

    def multiplications(self, groups: int = 1) -> int:
        """The same for a convolution whose channels are cut into ``groups``."""
        return self.macs


def matrix_shape(shape: Shape) -> tuple[int, int]:
    """The matrix that a tensor is read as: first axis against all the others.

    >>> matrix_shape((20, 1, 5, 5)), matrix_shape((7,)), matrix_shape(())
    ((20, 25), (1, 7), (1, 1))
    """
    if len(shape) < 2:
        return 1, prod(shape)
    return shape[0], prod(shape[1:])


def smallest_uint(largest: int) -> np.dtype:
    """The narrowest unsigned integer type that holds a value.

    >>> smallest_uint(255).name, smallest_uint(256).name
    ('uint8', 'uint16')
    """
    return np.min_scalar_type(max(largest, 0))


def frozen(array: np.ndarray) -> np.ndarray:
    """A contiguous array that can no longer be written to."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array
