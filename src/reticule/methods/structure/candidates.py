"""Orders of units that are worth trying, each with its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np

from reticule.forms import Packed
from reticule.graph.channels import Channels
from reticule.science.blocks import BlockModel, CoClustering
from reticule.science.embeddings import UnitEmbedding


def candidates(
    packed: Packed,
    channels: Channels,
    units: np.ndarray,
    *,
    blocks: bool = False,
    communities: bool = False,
    embedding: bool = False,
) -> Iterator[tuple[str, np.ndarray]]:
    """Orders of some units, by name; the same one comes only once, the present one never."""
    tried = [units]
    found = _by_strength(packed, channels, units)
    if blocks:
        found = chain(found, _by_blocks(packed, channels, units))
    if communities:
        found = chain(found, _by_communities(packed, channels, units))
    if embedding:
        found = chain(found, _by_embedding(packed, channels, units))
    for title, rank in found:
        order = units[rank]
        if not any(np.array_equal(order, other) for other in tried):
            tried.append(order)
            yield title, order


def _by_strength(
    packed: Packed, channels: Channels, units: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    for what, measure in MEASURES.items():
        makes, reads = _strengths(packed, channels, units, measure)
        for side, strength in (("rows", makes), ("columns", reads), ("both", makes + reads)):
            yield f"by {what} of {side}", np.argsort(-strength[units], kind="stable")


def _by_blocks(
    packed: Packed, channels: Channels, units: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Blocks of units by which weights make and read them; the densest first, then by degree."""
    mask = np.hstack([np.zeros((units.size, 1), bool), _beside(packed, channels, units) != 0])
    if not mask.any() or mask[:, 1:].all():
        return
    degree = mask.sum(1)
    for family in ("bernoulli", "degree-corrected"):
        labels = BlockModel(family, restarts=2).fit(mask).row_labels_
        mean = np.bincount(labels, degree) / np.bincount(labels)
        yield f"by {family} blocks", np.lexsort((-degree, labels, -mean[labels]))


def _by_communities(
    packed: Packed, channels: Channels, units: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Communities of units and what they meet; the strongest first, then by degree."""
    weights = _beside(packed, channels, units)
    if not weights.any():
        return
    degree, strength = (weights != 0).sum(1), np.abs(weights).sum(1)
    for kind in ("louvain", "leiden"):
        labels = CoClustering(kind).fit(weights).row_labels_
        mean = np.bincount(labels, strength) / np.maximum(np.bincount(labels), 1)
        yield f"by {kind} communities", np.lexsort((-degree, labels, -mean[labels]))


def _by_embedding(
    packed: Packed, channels: Channels, units: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """By the leading coordinates: units of which the weights point the same way are neighbours."""
    weights = _beside(packed, channels, units)
    if min(weights.shape) < 2 or not weights.any():
        return
    for signs, of in (("difference", "weights"), ("none", "magnitudes")):
        embedding = UnitEmbedding("spectral", 2, signs=signs).fit(weights)
        for number, line in enumerate(embedding.row_embedding_.T, 1):
            yield f"by coordinate {number} of {of}", np.argsort(-line, kind="stable")


def _beside(packed: Packed, channels: Channels, units: np.ndarray) -> np.ndarray:
    """What makes and reads each unit, tensors of like energy side by side (units, others).

    Of the columns that read one channel behind a flatten, the one with the largest weight counts.
    """
    place = np.full(channels.count, -1)
    place[units] = np.arange(units.size)
    parts = [np.zeros((units.size, 0))]
    for name, axis, lie in _lines(packed, channels, units):
        lines = np.moveaxis(packed.forms[name].dense(), axis, 0).reshape(len(lie), -1)
        largest, least = (np.zeros((units.size, lines.shape[1])) for _ in range(2))
        mine = place[lie] >= 0
        np.maximum.at(largest, place[lie[mine]], lines[mine])
        np.minimum.at(least, place[lie[mine]], lines[mine])
        part = np.where(largest >= -least, largest, least)
        parts.append(part / max(float(np.linalg.norm(part)), 1e-30))
    return np.hstack(parts)


MEASURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "number": lambda weights: (weights != 0).sum(1),
    "magnitude": lambda weights: np.abs(weights).sum(1) / max(float(np.abs(weights).max()), 1e-30),
}


def _strengths(
    packed: Packed,
    channels: Channels,
    units: np.ndarray,
    measure: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """For each unit, what its rows and its columns come to."""
    makes, reads = np.zeros(channels.count), np.zeros(channels.count)
    for name, axis, lie in _lines(packed, channels, units):
        lines = np.moveaxis(packed.forms[name].dense(), axis, 0).reshape(len(lie), -1)
        np.add.at(reads if axis else makes, lie, measure(lines))
    return makes, reads


def _lines(
    packed: Packed, channels: Channels, units: np.ndarray
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Weights whose rows (0) or columns (1) are of some of the units, and the unit of each."""
    for (name, axis), lie in channels.tensors.items():
        form = packed.forms[name]
        if len(form.shape) > 1 and form.size and axis < 2 and np.isin(lie, units).any():
            yield name, axis, lie
