"""Domains: where a tensor's weights may be coded, as they are or transformed.

In each the same loss has other weights.  With errors that are independent of each other, an
error e_k of coefficient k, whose synthesis basis is s_k, adds importance * e_k^2 s_k^T H s_k
to the loss 1/2 sum over rows r of importance_r e_r^T H e_r.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from reticule.codec.quantiser import forward_dct
from reticule.forms import Dense, Form, Lapped, Spectral, Wavelet
from reticule.forms.grids import Grid
from reticule.forms.lapped import forward_lapped
from reticule.forms.lifting import scales
from reticule.forms.spectral import LARGEST_KERNEL
from reticule.forms.wavelet import forward_wavelet
from reticule.graph import Graph, Node
from reticule.methods.quantise.layers import Sensitivity

Transform = Literal["lapped", "wavelet53", "wavelet97", "dct", "identity"]

LEAST_KERNEL = 3  # taps along one axis
LARGEST_IMAGE = 2048  # samples of an image whose basis is made; beyond, all count alike
_WAVELETS = {"wavelet53": "5/3", "wavelet97": "9/7"}


@dataclass(frozen=True)
class Domain:
    """A transform of a tensor: ``detail`` is the block of a lapped one, a wavelet's levels."""

    transform: Transform
    grid: Grid = (1, 1)
    detail: int = 0

    def __str__(self) -> str:
        height, width = self.grid
        if self.transform == "identity":
            return "identity"
        if self.transform == "dct":
            return f"dct of {height}x{width}"
        what = "blocks of" if self.transform == "lapped" else "levels"
        detail = f"{what} {self.detail}" if what == "blocks of" else f"{self.detail} {what}"
        return f"{self.transform} of {height}x{width}, {detail}"

    def forward(self, weights: np.ndarray) -> np.ndarray:
        """Coefficients (float64) in the weights' shape."""
        if self.transform == "identity":
            return weights.astype(np.float64)
        if self.transform == "dct":
            return forward_dct(weights)
        if self.transform == "lapped":
            return forward_lapped(weights, self.grid, self.detail)
        return forward_wavelet(weights, self.grid, _WAVELETS[self.transform], self.detail)

    def form(self, coefficients: Form) -> Form:
        """The form of weights with these coefficients."""
        if self.transform == "identity":
            return coefficients
        if self.transform == "dct":
            return Spectral(coefficients)
        if self.transform == "lapped":
            return Lapped(coefficients, self.grid, self.detail)
        return Wavelet(coefficients, self.grid, _WAVELETS[self.transform], self.detail)

    def basis(self) -> np.ndarray:
        """The synthesis basis of one image: a row (height * width,) for each coefficient."""
        size = prod(self.grid)
        units = np.eye(size, dtype=np.float32).reshape(size, 1, *self.grid)
        return self.form(Dense(units)).dense().reshape(size, size).astype(np.float64)


def domains_of(
    graph: Graph,
    node: Node,
    shape: tuple[int, ...],
    transform: Transform,
    blocks: Sequence[int],
    levels: Sequence[int],
) -> tuple[list[Domain], str]:
    """Where a layer's weights may be transformed; or why nowhere."""
    kernel = shape[-2:] if node.op == "Conv" and len(shape) == 4 else (1, 1)
    large = LEAST_KERNEL <= max(kernel) <= LARGEST_KERNEL
    if transform == "identity":
        return [], "no transform was asked for"
    if transform == "dct":
        if not large:
            return [], f"it has no kernels of {LEAST_KERNEL} taps or more"
        return [Domain("dct", (kernel[0], kernel[1]))], ""
    grids = [(kernel[0], kernel[1])] if large else []
    image = image_before(graph, node, prod(shape[1:]))
    if prod(image) > 1:
        grids.append(image)
    if min(shape[0], prod(shape[1:])) > 1:
        grids.append((shape[0], prod(shape[1:])))
    details = blocks if transform == "lapped" else levels
    found = [
        Domain(transform, grid, detail)
        for grid in dict.fromkeys(grids)
        for detail in sorted({min(detail, _most(transform, grid)) for detail in details})
    ]
    return found, "" if found else "its matrix is a single line"


def _most(transform: Transform, grid: Grid) -> int:
    """A larger block than that, or more levels, would change nothing."""
    longest = max(grid)
    return max(longest, 2) if transform == "lapped" else max((longest - 1).bit_length(), 1)


def image_before(graph: Graph, node: Node, columns: int) -> Grid:
    """Height and width of the images that a linear layer gets flattened, (1, 1) if it does not."""
    if node.op != "Gemm":
        return 1, 1
    before = {n.outputs[0]: n for n in graph.nodes}.get(node.inputs[0])
    if before is None or before.op not in ("Flatten", "Reshape"):
        return 1, 1
    shape = graph.shapes().get(before.inputs[0], ())
    if len(shape) != 4 or prod(shape[1:]) != columns:
        return 1, 1
    return shape[2], shape[3]


def expected_loss(domain: Domain, shape: tuple[int, ...], sensitivity: Sensitivity) -> np.ndarray:
    """Loss of an error of one in each coefficient: (rows, columns) of the tensor as a matrix."""
    rows, columns = shape[0], prod(shape[1:])
    hessian, importance = sensitivity.hessian, 0.5 * sensitivity.importance
    image = prod(domain.grid)
    if domain.transform == "identity":
        diagonal = hessian[None] if hessian.ndim == 1 else np.diagonal(hessian, 0, 1, 2)
        return importance[:, None] * np.repeat(diagonal, rows // len(diagonal), axis=0)
    if columns % image == 0 and image <= LARGEST_IMAGE:
        seen = _within(domain.basis(), hessian, columns // image)
        return importance[:, None] * np.repeat(seen, rows // len(seen), axis=0)
    if domain.grid == (rows, columns) and max(domain.grid) <= LARGEST_IMAGE:
        return _across(domain, hessian, importance)
    mean = hessian.mean() if hessian.ndim == 1 else np.diagonal(hessian, 0, 1, 2).mean()
    return np.full((rows, columns), float(importance.mean() * mean))


def _within(basis: np.ndarray, hessian: np.ndarray, images: int) -> np.ndarray:
    """s_k^T H s_k (groups, columns) for images within a row."""
    size = len(basis)
    if hessian.ndim == 1:
        return (hessian.reshape(images, size) @ (basis**2).T).reshape(1, -1)
    groups = hessian.reshape(len(hessian), images, size, images, size)
    own = np.stack([groups[:, p, :, p] for p in range(images)], axis=1)
    return np.sum((basis @ own) * basis, axis=-1).reshape(len(hessian), -1)


def _across(domain: Domain, hessian: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """The same for one image of all rows: a product of what rows and columns count."""
    square = np.diag(hessian) if hessian.ndim == 1 else hessian.mean(0)
    height, width = domain.grid
    if domain.transform == "lapped":
        down, across = (Domain("lapped", (1, n), domain.detail).basis() for n in domain.grid)
        return np.outer(down**2 @ importance, np.sum((across @ square) * across, axis=1))
    kind, out = _WAVELETS[domain.transform], np.empty(domain.grid)
    sizes = zip(*(scales(n, domain.detail, kind) for n in domain.grid), strict=True)
    for level, ((high, _), (wide, _)) in enumerate(sizes, 1):
        down, across = (Domain(domain.transform, (1, n), level).basis() for n in (height, width))
        along = np.sum((across[:wide] @ square) * across[:wide], axis=1)
        out[:high, :wide] = np.outer(down[:high] ** 2 @ importance, along)
    return out
