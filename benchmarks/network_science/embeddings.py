"""Layers rebuilt from embeddings of their units, beside the best and the worst basis there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import reticule
from network_science.density import IMAGES, measured
from network_science.neurons import Subject
from reticule.forms import Factored, Packed
from reticule.methods import Context, Embedding, FoldBatchNorm
from reticule.tuning.problem import evenly

NETWORKS = ("lenet300100", "lenet5", "resnet20")
KINDS = ("svd", "spectral", "netmf", "grarep", "random")
RATIO = 0.25  # of the layer's numbers
RANK = 30
ALONE = {  # layers that get RANK coordinates, and all others stay
    "lenet300100": {"ip1": ("*ip1*",), "ip2": ("*ip2*",), "ip1 and ip2": ("*ip1*", "*ip2*")},
    "lenet5": {"conv2": ("*conv2*",)},
}
COLUMNS = (
    "layers", "rank", "error", "numbers", "weights", "accuracy", "accuracy_before", "images",
)  # fmt: skip
Row = tuple[tuple[str, str, str], dict[str, float]]


def errors(shared: Path) -> Iterator[Row]:
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


def at_equal_rank(shared: Path) -> Iterator[Row]:
    """Network, layers and kind of embedding; error, and accuracy of the decoded file, untrained.

    Accuracy is that on training images which nothing was chosen on, though the network knows them.
    """
    for network, choices in ALONE.items():
        subject = Subject(network, shared)
        images = evenly(subject.problem.held_out, IMAGES)
        before = measured(subject.start, images)[1]
        for title, patterns in choices.items():
            for kind in KINDS:
                stage = Embedding(kind=kind, rank=dict.fromkeys(patterns, RANK))
                made = stage.apply(subject.start, Context(subject.network)).packed
                names = [n for n, form in made.forms.items() if isinstance(form, Factored)]
                found = {
                    "rank": RANK,
                    "accuracy": measured(made, images)[1],
                    "accuracy_before": before,
                    "images": len(images),
                }
                yield (network, title, kind), _error(subject.start, made, names) | found


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
