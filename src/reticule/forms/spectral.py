"""Spectral: the kernels of a convolution as frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import cos, pi, prod, sqrt

import numpy as np

from reticule.forms.base import Form, Shape
from reticule.forms.common import Common
from reticule.forms.sparse import Sparse

LARGEST_KERNEL = 32  # along one axis
_ONE = 1 << 30  # the basis is exact in multiples of 1 / _ONE


@dataclass(frozen=True, eq=False)
class Spectral(Form):
    """Two-dimensional DCT-II coefficients (orthonormal) of each kernel, in another form.

    ``coefficients`` has the tensor's shape, of at least four axes; the last two are
    frequencies.  Neighbouring taps of trained kernels resemble each other, so most
    of a kernel's energy is in few coefficients (Wang et al., "CNNpack", NIPS 2016).

    The inverse runs in float64 with a basis rounded to 30 bits and in a fixed order of
    additions, so that the weights are the same on every machine.

    >>> from reticule.forms import Dense
    >>> flat = np.zeros((1, 1, 3, 3), "f4")
    >>> flat[..., 0, 0] = 3
    >>> Spectral(Dense(flat)).dense()[0, 0, 0].tolist()
    [1.0, 1.0, 1.0]
    """

    coefficients: Form

    def __post_init__(self) -> None:
        shape = self.coefficients.shape
        if len(shape) < 4 or not all(1 <= axis <= LARGEST_KERNEL for axis in shape[-2:]):
            raise ValueError(f"shape {shape} has no kernels to transform")

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        return self.coefficients.shape

    @property
    def name(self) -> str:
        return f"dct({self.coefficients.name})"

    def dense(self) -> np.ndarray:
        return inverse_dct(self.coefficients.dense())

    @property
    def nonzero(self) -> int:
        return self.coefficients.nonzero

    @property
    def macs(self) -> int:
        return self.multiplications()

    def multiplications(self, groups: int = 1) -> int:
        """Those in frequencies, or of the restored kernels, whichever are fewer."""
        return self._in_frequencies(groups) if self.stays(groups) else self.size

    def stays(self, groups: int = 1) -> bool:
        """Whether a convolution is best done in frequencies, its kernels never restored.

        A kernel K with coefficients C over the basis images S gives

            K * X = sum over (u, v) of C[u, v] (S[u, v] * X)

        where the responses S * X, the DCT of each window, are the same for all kernels that
        see the channel X (Wang et al., section 3.3).  So it pays where coefficients are
        sparse and output channels many.
        """
        sparse = isinstance(self.coefficients, Sparse)
        if isinstance(self.coefficients, Common):
            sparse = self.coefficients.responds
        return sparse and self._in_frequencies(groups) < self.size

    def _in_frequencies(self, groups: int) -> int:
        """The DCT of a window of every input channel, and the product with coefficients."""
        channels = prod(self.shape[1:-2]) * groups
        taps = prod(self.shape[-2:])
        transform = taps * sum(axis for axis in self.shape[-2:] if axis > 1)
        return channels * transform + self.coefficients.multiplications(groups)

    @property
    def bits(self) -> int:
        return self.coefficients.bits


@cache
def dct_basis(size: int) -> np.ndarray:
    """The orthonormal DCT-II: row u holds frequency u at each of ``size`` taps (float64).

    Entries are rounded to multiples of 2^-30, which makes them the same everywhere.

    >>> bool(np.allclose(dct_basis(3) @ dct_basis(3).T, np.eye(3), atol=1e-8))
    True
    """
    rows = [
        [sqrt((1 if u == 0 else 2) / size) * cos(pi * (2 * x + 1) * u / (2 * size))]
        for u in range(size)
        for x in range(size)
    ]
    return (np.rint(np.array(rows) * _ONE) / _ONE).reshape(size, size)


def inverse_dct(coefficients: np.ndarray) -> np.ndarray:
    """Kernels (float32) of coefficients in the last two axes: first along y, then along x.

    Every product and every sum is rounded on its own, in the order of rising frequency.
    """
    along_y = _synthesis(np.swapaxes(coefficients.astype(np.float64), -1, -2))
    return np.ascontiguousarray(_synthesis(np.swapaxes(along_y, -1, -2)).astype(np.float32))


def _synthesis(spectrum: np.ndarray) -> np.ndarray:
    """Taps (..., n) of frequencies (..., n), one axis."""
    basis = dct_basis(spectrum.shape[-1])
    taps = spectrum[..., :1] * basis[0]
    for u in range(1, spectrum.shape[-1]):
        taps = taps + spectrum[..., u : u + 1] * basis[u]
    return taps
