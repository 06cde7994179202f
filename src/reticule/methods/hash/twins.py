"""The twin of hashed weights: the shared values are trained, who shares them stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import reticule.tuning.spectral  # noqa: F401  its twin registers itself
from reticule.forms import Hashed
from reticule.tuning.twins import TWINS, Twin, twin_of


class _Signed(torch.autograd.Function):
    """Entries of (values, -values); a value's gradient is a signed sum in a fixed order."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, entries: Tensor) -> Tensor:
        ctx.save_for_backward(entries)
        ctx.count = len(values)
        both = torch.cat([values, -values])
        return both.index_select(0, entries.flatten()).reshape(entries.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (entries,) = ctx.saved_tensors
        flat = gradient.contiguous().flatten().double()
        sums = torch.bincount(entries.flatten(), flat, 2 * ctx.count)
        return (sums[: ctx.count] - sums[ctx.count :]).float(), None


class HashedTwin(Twin):
    """Frozen hashes, trainable values.

    The gradient of a value is that of its bucket (Chen et al., ICML 2015, section 4.3):

        dL/dvalues[k] = sum of sign(p) * dL/dw[p] over all p that are hashed to k
    """

    def __init__(self, form: Hashed) -> None:
        self._form = form
        buckets, signs = places(form)
        entries = buckets + (signs < 0) * form.values.shape[0]
        self._entries = torch.from_numpy(np.asarray(entries))
        self._values = twin_of(form.values)

    def tensor(self) -> Tensor:
        return _Signed.apply(self._values.tensor(), self._entries)

    def parameters(self) -> list[Tensor]:
        return self._values.parameters()

    def form(self) -> Hashed:
        return replace(self._form, values=self._values.form())


def places(form: Hashed) -> tuple[np.ndarray, np.ndarray]:
    """The index (int64) of each weight's value and its sign (float32), in the tensor's shape."""
    buckets = np.empty(form.size, np.int64)
    signs = np.empty(form.size, np.float32)
    for first, block, negative in form.places():
        buckets[first : first + block.size] = block
        signs[first : first + block.size] = np.where(negative, -1.0, 1.0)
    return buckets.reshape(form.shape), signs.reshape(form.shape)


TWINS[Hashed] = HashedTwin
