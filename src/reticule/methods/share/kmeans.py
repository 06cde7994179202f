"""Weight sharing: k-means over each layer's weights, and the twin that trains the centroids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from reticule.forms import Codebook, Dense, Factored, Form, Packed, Sparse, Spectral
from reticule.methods.base import Context, Outcome, method
from reticule.methods.prune.threshold import prunable
from reticule.methods.select import SMALLEST, select
from reticule.tuning.twins import TWINS, Twin, twin_of

Start = Literal["linear", "density", "random"]
Bits = Annotated[int, Field(ge=1, le=12)]


@method("weight-sharing")
@dataclass(frozen=True)
class WeightSharing:
    """Let the weights of a layer share 2^bits values, found by one-dimensional k-means.

    Only surviving weights of a pruned layer are clustered, or coefficients of transformed
    kernels; each factor of a factored layer by itself.  ``conv_bits`` and
    ``linear_bits`` set the number of clusters; small layers get fewer, so that the
    table takes no more than ``table_share`` of what the indices take.  Centroids are
    kept in float16.  Follow it with a ``retrain`` stage: assignments stay, centroids
    are trained (the gradient of a centroid is the sum over its weights).

    Source: Han, Mao, Dally, "Deep Compression", ICLR 2016, section 3.
    """

    conv_bits: Bits = 5
    linear_bits: Bits = 4
    init: Start = "linear"
    iterations: Annotated[int, Field(ge=0)] = 100
    table_share: Annotated[float, Field(gt=0)] = 1.0
    skip: Sequence[str] = ()
    smallest: int = SMALLEST

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, skipped = select(packed, skip=self.skip, smallest=self.smallest, accept=_shareable)
        bits = {
            weight: self.conv_bits if node.op == "Conv" else self.linear_bits
            for node, weight in packed.graph.weights()
        }
        rng = np.random.default_rng(context.seed)
        forms = {name: self._share(packed.forms[name], bits[name], rng) for name in names}
        return Outcome(packed.with_forms(forms), skipped)

    def _share(self, form: Form, bits: int, rng: np.random.Generator) -> Form:
        if isinstance(form, Spectral):
            return replace(form, coefficients=self._share(form.coefficients, bits, rng))
        if isinstance(form, Sparse):
            return replace(form, values=self._share(form.values, bits, rng))
        if isinstance(form, Factored):
            return Factored(*(self._share(part, bits, rng) for part in form.factors))
        weights = form.dense()
        while bits > 1 and 16 * 2**bits > self.table_share * weights.size * bits:
            bits -= 1
        centroids = kmeans(weights, 2**bits, self.init, self.iterations, rng)
        table = Dense(centroids.astype(np.float16))
        return Codebook(nearest(weights, table.dense()), table)


def _shareable(form: Form) -> str:
    """Why weights cannot share values, or "" ; coefficients and factors can as well."""
    if isinstance(form, Factored):
        if sum(isinstance(part, Sparse) for part in form.factors) > 2:
            return f"too many forms in the form {form.name}"
        return next(filter(None, map(_shareable, form.factors)), "")
    return prunable(form.coefficients if isinstance(form, Spectral) else form)


def kmeans(
    weights: np.ndarray, k: int, init: Start, iterations: int, rng: np.random.Generator
) -> np.ndarray:
    """At most k ascending centroids of one-dimensional data, by Lloyd's algorithm.

    ``init`` "linear" spaces the first centroids evenly between the smallest and the
    largest weight, "density" at even levels of the empirical distribution, "random"
    takes k of the weights.  Clusters that lose all weights are dropped.

    >>> kmeans(np.array([0.0, 0.1, 5.0, 5.2]), 2, "linear", 9, np.random.default_rng(0))
    array([0.05, 5.1 ])
    """
    data = np.sort(weights.ravel().astype(np.float64))
    if not data.size:
        return np.zeros(0)
    sums = np.concatenate([[0.0], np.cumsum(data)])
    centroids = np.unique(_start(data, k, init, rng))
    for _ in range(iterations):
        middles = (centroids[1:] + centroids[:-1]) / 2
        edges = np.concatenate([[0], np.searchsorted(data, middles), [data.size]])
        counts = np.diff(edges)
        moved = np.diff(sums[edges])[counts > 0] / counts[counts > 0]
        if moved.size == centroids.size and np.allclose(moved, centroids, rtol=0, atol=1e-12):
            break
        centroids = np.unique(moved)
    return centroids


def _start(data: np.ndarray, k: int, init: Start, rng: np.random.Generator) -> np.ndarray:
    if init == "linear":
        return np.linspace(data[0], data[-1], k)
    if init == "density":
        return np.quantile(data, (np.arange(k) + 0.5) / k)
    return rng.choice(data, min(k, data.size), replace=False)


def nearest(weights: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Index of the centroid nearest to each weight; centroids must ascend."""
    middles = (centroids[1:].astype(np.float64) + centroids[:-1]) / 2
    return np.searchsorted(middles, weights).astype(np.uint16)


class _Lookup(torch.autograd.Function):
    """centroids[indices], whose gradient sums over a cluster in a fixed order."""

    @staticmethod
    def forward(ctx: Any, centroids: Tensor, indices: Tensor) -> Tensor:
        ctx.save_for_backward(indices)
        ctx.clusters = len(centroids)
        return centroids[indices]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (indices,) = ctx.saved_tensors
        flat = gradient.contiguous().flatten().double()
        sums = torch.bincount(indices.flatten(), flat, ctx.clusters)
        return sums.float(), None


class CodebookTwin(Twin):
    """Frozen assignment, trainable centroids; a centroid that is zero stays zero."""

    def __init__(self, form: Codebook) -> None:
        self._indices = torch.from_numpy(form.indices.astype(np.int64))
        self._form = form
        self._centroids = twin_of(form.centroids)
        # What a zero stands for was removed on purpose.
        self._free = torch.from_numpy((form.centroids.dense() != 0).astype(np.float32))

    def tensor(self) -> Tensor:
        return _Lookup.apply(self._centroids.tensor() * self._free, self._indices)

    def parameters(self) -> list[Tensor]:
        return self._centroids.parameters()

    def form(self) -> Codebook:
        return replace(self._form, centroids=self._centroids.form())


TWINS[Codebook] = CodebookTwin
