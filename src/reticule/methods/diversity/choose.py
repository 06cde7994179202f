"""Which units to keep, in an order: the first are the best, whatever their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from reticule.codec.second_order import definite
from reticule.methods.diversity.readers import Seen, reconstruction
from reticule.science.submodular import (
    FacilityLocation,
    How,
    LogDeterminant,
    maximise,
    sample_k_dpp,
)

Selection = Literal[
    "asymmetric", "sequential", "layerwise", "divnet", "divnet-sample", "facility-location",
    "coreset", "magnitude", "random",
]  # fmt: skip
Refit = Literal["auto", "outputs", "fuse", "represent", "none"]
EPSILON = 0.01  # of Divnet's kernel


def chosen(
    selection: Selection,
    readers: Sequence[Seen],
    sizes: np.ndarray,
    count: int,
    how: How,
    ridge: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """The units to keep (count,); ``sizes`` are the magnitudes of what makes each unit."""
    total = sizes.size
    if selection == "random":
        return rng.permutation(total)[:count]
    if selection == "magnitude":
        return np.argsort(-sizes, kind="stable")[:count]
    if selection == "coreset":
        return coreset(readers, sizes, count, rng)[0]
    if selection in ("divnet", "divnet-sample"):
        kernel = likeness(readers, total)
        if selection == "divnet-sample":
            return sample_k_dpp(kernel, count, rng)
        return maximise(LogDeterminant(kernel), count, "plain", rng)
    if selection == "facility-location":
        return maximise(FacilityLocation(cosines(readers, total)), count, "lazy", rng)
    return maximise(reconstruction(readers, total, ridge), count, how, rng)


def products(readers: Sequence[Seen], count: int) -> np.ndarray:
    """E[v v^T] of the units' values about their means, as the first reader sees them."""
    return readers[0].kernel(count)


def likeness(readers: Sequence[Seen], count: int) -> np.ndarray:
    """Divnet's kernel exp(-beta |v_i - v_j|^2) + epsilon I, beta one over the median distance.

    The source has beta = 10 / T for T samples, at which activations of some size are all
    alike unlike: the kernel becomes the identity.
    """
    inner = products(readers, count)
    square = np.maximum(inner.diagonal()[:, None] + inner.diagonal() - 2 * inner, 0)
    apart = square[~np.eye(count, dtype=bool)]
    beta = 1 / max(float(np.median(apart)) if apart.size else 1.0, 1e-30)
    return np.exp(-beta * square) + EPSILON * np.eye(count)


def cosines(readers: Sequence[Seen], count: int) -> np.ndarray:
    """Correlations of the units' values, those below zero as zero."""
    inner = products(readers, count)
    scale = np.sqrt(np.maximum(inner.diagonal(), 1e-30))
    return np.asarray(np.maximum(inner / scale[:, None] / scale, 0))


def fused(readers: Sequence[Seen], count: int, kept: np.ndarray, ridge: float) -> np.ndarray:
    """How much each kept unit stands for each other one (count, kept): least squares."""
    inner = products(readers, count)
    own = inner[np.ix_(kept, kept)]
    own = definite(own + ridge * float(own.diagonal().mean()) * np.eye(kept.size))
    shares = np.linalg.solve(own, inner[kept]).T
    shares[kept] = np.eye(kept.size)
    return np.asarray(shares)


def represented(readers: Sequence[Seen], count: int, kept: np.ndarray) -> np.ndarray:
    """Each unit stands with its size for the kept one that is most like it (count, kept)."""
    inner = products(readers, count)
    scale = np.sqrt(np.maximum(inner.diagonal(), 1e-30))
    nearest = np.argmax((inner / scale[:, None] / scale)[:, kept], axis=1)
    shares = np.zeros((count, kept.size))
    factor = inner[np.arange(count), kept[nearest]] / np.maximum(scale[kept[nearest]] ** 2, 1e-30)
    shares[np.arange(count), nearest] = np.clip(factor, 0, None)
    shares[kept] = np.eye(kept.size)
    return shares


def coreset(
    readers: Sequence[Seen], sizes: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Units drawn by what they can contribute at most, and the factor of their weights.

    Unit j is drawn with a probability p_j proportional to the largest weight that reads it times
    the size of what makes it; drawn c times of m, its weights are multiplied by c / (m p_j)
    (Mussay et al., "Data-independent neural pruning via coresets", ICLR 2020).
    """
    largest = np.zeros(sizes.size)
    for reader in readers:
        column = np.abs(reader.weights).max((0, 1))
        mine = reader.units >= 0
        np.maximum.at(largest, reader.units[mine], column[mine])
    chance = largest * sizes + 1e-12
    chance /= chance.sum()
    drawn = np.zeros(sizes.size)
    tries = 0
    while np.count_nonzero(drawn) < count:
        drawn[rng.choice(sizes.size, p=chance)] += 1
        tries += 1
        if tries > 10_000 * sizes.size:  # almost all chance is with a few
            drawn[np.argsort(-chance * (drawn == 0))[: count - np.count_nonzero(drawn)]] += 1
    kept = np.flatnonzero(drawn)
    return kept, drawn[kept] / (tries * chance[kept])
