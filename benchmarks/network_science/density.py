"""Density for each layer by measures of what it needs: bytes and accuracy, nothing retrained."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from network_science.neurons import Subject
from reticule.codec import About, save
from reticule.data import Data
from reticule.evaluation import measure
from reticule.forms import Packed, Sparse
from reticule.methods import Context, ThresholdPruning, WeightSharing
from reticule.methods.prune.allocation import Measure, scope_of
from reticule.methods.prune.scores import Scope, Score, Shares, masks_at
from reticule.methods.prune.threshold import density_of, prunable
from reticule.methods.select import select
from reticule.tuning.problem import evenly

DENSITIES = {  # where a global cut without retraining costs some points, and where many
    "lenet300100": (0.15, 0.12, 0.09),
    "lenet5": (0.10, 0.06, 0.04),
    "resnet20": (0.6, 0.5, 0.4),
}
SHAPES = "shapes alone"
WAYS: tuple[tuple[str, Scope | Measure | Literal["shapes alone"], Score], ...] = (
    ("global, lamp", "global", "lamp"),
    ("global, magnitude", "global", "magnitude"),
    ("layer", "layer", "magnitude"),
    ("sensitivity", "sensitivity", "magnitude"),
    ("communities", "communities", "magnitude"),
    ("k-core", "k-core", "magnitude"),
    ("effective-rank", "effective-rank", "magnitude"),
    ("curvature", "curvature", "magnitude"),
    (SHAPES, SHAPES, "magnitude"),
)
COLUMNS = ("kept", "bytes_file", "accuracy", "before", "images", "seconds_measure")
BITS, FLOOR, IMAGES = 4, ThresholdPruning().floor, 2000


def rows(shared: Path) -> Iterator[tuple[tuple[str, str, float], dict[str, object]]]:
    torch.set_num_threads(1)
    for network, densities in DENSITIES.items():
        subject = Subject(network, shared)
        held_out = evenly(subject.problem.held_out, IMAGES)
        context = Context(subject.network, problem=subject.problem)
        before = measured(subject.start, held_out)[1]
        names, _ = select(subject.start, accept=prunable)
        weights = {name: subject.start.forms[name].dense() for name in names}
        for way, scope, score in WAYS:
            start = time.process_time()
            if scope == SHAPES:
                shares: Scope | Shares = {name: by_shape(weights[name].shape) for name in names}
            else:
                shares = scope_of(scope, subject.start, names, context)  # once for all densities
            seconds = time.process_time() - start
            for density in densities:
                masks = masks_at(weights, density, scope=shares, score=score, floor=FLOOR)
                pruned = subject.start.with_forms(
                    {name: Sparse.keep(weights[name], masks[name]) for name in names}
                )
                stage = WeightSharing(conv_bits=BITS, linear_bits=BITS)
                bytes_file, accuracy = measured(stage.apply(pruned, context).packed, held_out)
                yield (
                    (network, way, density),
                    {
                        "kept": density_of(masks),
                        "bytes_file": bytes_file,
                        "accuracy": accuracy,
                        "before": before,
                        "images": len(held_out),
                        "seconds_measure": seconds,
                    },
                )


def by_shape(shape: tuple[int, ...]) -> float:
    """A control that looks at no weight: the density of a random graph with as many edges a unit.

    Erdos-Renyi: Mocanu et al., "Scalable training of artificial neural networks with adaptive
    sparse connectivity", 2018; with kernels: Evci et al., "Rigging the lottery", 2020.
    """
    return sum(shape) / float(np.prod(shape))


def measured(packed: Packed, images: Data) -> tuple[int, float]:
    """Bytes of the file, and percent right when a fresh process decodes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.ret"
        save(path, packed, About(images.preprocessing))
        return path.stat().st_size, measure(path, images).accuracy


def at_bytes(bytes_file: list[float], accuracy: list[float], wanted: float) -> float | None:
    """Accuracy between measured files, linear in the logarithm of bytes; None outside of them."""
    order = np.argsort(bytes_file)
    sizes = np.log(np.array(bytes_file)[order])
    if not sizes[0] <= np.log(wanted) <= sizes[-1]:
        return None
    return float(np.interp(np.log(wanted), sizes, np.array(accuracy)[order]))
