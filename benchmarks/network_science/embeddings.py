"""Layers rebuilt from embeddings of their units, beside the best and the worst basis there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import reticule
from reticule.forms import Factored, Packed
from reticule.methods import Context, Embedding, FoldBatchNorm

NETWORKS = ("lenet300100", "lenet5", "resnet20")
KINDS = ("svd", "spectral", "netmf", "grarep", "random")
RATIO = 0.25  # of the layer's numbers
COLUMNS = ("layers", "error", "numbers", "weights")


def errors(shared: Path) -> Iterator[tuple[tuple[str, str, str], dict[str, float]]]:
    """Network, kind of layer and of embedding; the error of all such layers relative to them."""
    for network in NETWORKS:
        original = reticule.from_onnx(shared / "models" / f"{network}.onnx")
        folded = FoldBatchNorm().apply(Packed.of(original), Context(original)).packed
        for kind in KINDS:
            made = Embedding(kind=kind, ratio=RATIO).apply(folded, Context(original)).packed
            for sort, axes in (("linear", 2), ("convolution", 4)):
                names = [
                    name
                    for name, form in made.forms.items()
                    if isinstance(form, Factored) and len(form.shape) == axes
                ]
                if names:
                    yield (network, sort, kind), _error(folded, made, names)


def _error(folded: Packed, made: Packed, names: list[str]) -> dict[str, float]:
    wrong = whole = 0.0
    for name in names:
        weights = folded.forms[name].dense().astype(np.float64)
        wrong += float(np.square(weights - made.forms[name].dense()).sum())
        whole += float(np.square(weights).sum())
    parts = [made.forms[name] for name in names]
    stored = [part for form in parts for part in (form.rows, form.core, form.columns) if part]
    return {
        "layers": len(names),
        "error": (wrong / whole) ** 0.5,
        "numbers": sum(part.size for part in stored),
        "weights": sum(form.size for form in parts),
    }
