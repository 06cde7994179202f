"""Common: kernels that share a few patterns, and what each adds to its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule.forms.base import Form, Shape, frozen, smallest_uint
from reticule.forms.sparse import Sparse


@dataclass(frozen=True, eq=False)
class Common(Form):
    """Each kernel is one of K centres plus a residual of its own.

    ``residual`` has the tensor's shape (O, I, ..., kh, kw), of at least four axes;
    ``centres`` the shape (K, kh, kw), and ``labels`` (O, I, ...), unsigned, says whose
    centre each kernel takes (Wang et al., "CNNpack", NIPS 2016, section 3: common and
    individual parts).  There are no more centres than kernels.  A weight is the sum of the
    two, one float32 addition.

    >>> from reticule.forms import Dense
    >>> centres = Dense(np.array([[[1, 2]], [[5, 5]]], "f4"))
    >>> residual = Dense(np.array([[[[0, 1]], [[0, 0]]]], "f4"))
    >>> Common(np.array([[0, 1]]), centres, residual).dense().tolist()
    [[[[1.0, 3.0]], [[5.0, 5.0]]]]
    """

    labels: np.ndarray
    centres: Form
    residual: Form

    def __post_init__(self) -> None:
        shape, count = self.residual.shape, self.centres.shape[0] if self.centres.shape else 0
        if len(shape) < 4 or self.centres.shape != (count, *shape[-2:]):
            raise ValueError(f"centres of {self.centres.shape} for the shape {shape}")
        if self.labels.shape != shape[:-2]:
            raise ValueError(f"labels of {self.labels.shape} for the shape {shape}")
        if count > self.labels.size:
            raise ValueError(f"{count} centres for {self.labels.size} kernels")
        if self.labels.size and (self.labels.min() < 0 or self.labels.max() >= count):
            raise ValueError(f"a label outside of {count} centres")
        narrow = self.labels.astype(smallest_uint(count - 1), copy=False)
        object.__setattr__(self, "labels", frozen(narrow))

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        return self.residual.shape

    @property
    def name(self) -> str:
        return f"common{self.centres.shape[0]}({self.residual.name})"

    def dense(self) -> np.ndarray:
        if not self.size:
            return np.zeros(self.shape, np.float32)
        return self.centres.dense()[self.labels] + self.residual.dense()

    @property
    def nonzero(self) -> int:
        """Weights of which the centre or the residual has one."""
        if not self.size:
            return 0
        shared = self.centres.dense() != 0
        return int(np.count_nonzero(shared[self.labels] | (self.residual.dense() != 0)))

    @property
    def responds(self) -> bool:
        """Whether a convolution adds responses of centres up, instead of restoring kernels."""
        return isinstance(self.residual, Sparse)

    @property
    def macs(self) -> int:
        return self.multiplications()

    def multiplications(self, groups: int = 1) -> int:
        """Each centre meets each input channel once; its responses are then only added up.

        With a residual that is not sparse, those of the restored kernels.
        """
        if not self.responds:
            return self.size
        centres = self.centres
        each = centres.macs if isinstance(centres, Sparse) else centres.size
        return self.shape[1] * groups * each + self.residual.macs

    @property
    def bits(self) -> int:
        """Labels at fixed width, centres and residual."""
        width = max(self.centres.shape[0] - 1, 0).bit_length()
        return self.labels.size * width + self.centres.bits + self.residual.bits
