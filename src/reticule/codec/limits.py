"""What a file may ask for, checked before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from reticule.errors import Fault, FormatError
from reticule.forms.base import Shape


@dataclass(frozen=True)
class Limits:
    """The most that a reader accepts; raise them for unusually large networks.

    ``metadata_items`` counts brackets and commas of the metadata's JSON: with
    ``metadata_bytes`` it bounds the memory that parsing can take.

    >>> Limits(elements=1000).elements
    1000
    """

    metadata_bytes: int = 4 << 20  # inflated
    metadata_items: int = 1 << 18
    nodes: int = 1 << 14
    tensors: int = 1 << 16
    rank: int = 8
    elements: int = 1 << 31  # weights per tensor, and in the whole file
    weights_for_nothing: int = 1 << 23  # in a file of any size
    weights_per_byte: int = 1 << 12  # and for each byte of its weight section
    form_parts: int = 8  # forms nested in one tensor
    constant_run: int = 1 << 24  # symbols that a few bytes may stand for
    string: int = 1024  # characters of a name or label

    def weights_of(self, section: int) -> int:
        """Most weights in a weight section of so many bytes: bounds time as well as memory."""
        return min(self.elements, self.weights_for_nothing + self.weights_per_byte * section)


class Budget:
    """Elements that the forms of one file may still allocate.

    An element is at most four bytes, and no honest nesting of forms needs more than
    four per weight; the constant leaves room for tables of many small tensors.  A form
    by itself counts as many elements, so that there cannot be millions of empty ones.
    """

    FORM = 128

    def __init__(self, weights: int, limits: Limits) -> None:
        self.limits = limits
        self.left = 4 * weights + (1 << 21)

    def spend(self, elements: int, where: str) -> None:
        """Take from the budget, or raise before the caller allocates."""
        self.left -= elements
        if self.left < 0:
            raise FormatError(Fault.TOO_LARGE, where, "its forms need more room than its weights")


def size_within(shape: Shape, limits: Limits, where: str) -> int:
    """Number of elements of a shape, if rank, axes and product keep to the limits.

    An axis of length zero counts as one, so that it cannot hide a huge one.
    """
    if len(shape) > limits.rank:
        raise FormatError(Fault.TOO_LARGE, where, f"rank {len(shape)}")
    if prod(max(axis, 1) for axis in shape) > limits.elements:
        raise FormatError(Fault.TOO_LARGE, where, f"shape {shape}")
    return prod(shape)
