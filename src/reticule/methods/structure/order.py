"""The order of units, which is free: the one whose file is smallest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from reticule.forms import Packed, channels_of, operated
from reticule.graph.channels import Channels, reordered
from reticule.methods.base import Context, Outcome, method
from reticule.methods.structure.sizes import part_of, size_of
from reticule.science.blocks import BlockModel
from reticule.science.embeddings import UnitEmbedding

AS_IT_WAS = "as it was"


@method("order-units")
@dataclass(frozen=True)
class OrderUnits:
    """Put units in an order that makes the file smaller; every answer stays.

    Neurons and channels may change places, if the rows that make them and the columns that
    read them do so together.  A coder that learns as it goes, row by row, does better where
    rows and columns that are alike follow each other.  For each set of units that can change
    places these orders are tried, most first: by the number of weights in the rows that make
    a unit, in the columns that read it, and in both; and by the sum of their magnitudes
    instead of their number; with ``blocks`` also by the blocks of a block model of the weights
    that make and read them (plain and degree-corrected, see :mod:`reticule.science.blocks`),
    the densest block first; with ``embedding`` also by the two leading coordinates of a spectral
    embedding of those weights, with their signs and without (:mod:`reticule.science.embeddings`),
    so that units which are alike stand side by side.  One is kept where the tensors that it
    concerns take fewer bytes.  ``rounds`` is how often that goes over the network, as layers
    share units.

    Source: ours; that units can be permuted at will: Hecht-Nielsen, "On the algebraic
    structure of feedforward network weight spaces", 1990.
    """

    rounds: Annotated[int, Field(ge=1)] = 2
    blocks: bool = False
    embedding: bool = False

    needs_data: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        channels = channels_of(packed)
        start, before = packed, size_of(packed, context)
        chosen: dict[str, str] = {}
        for _ in range(self.rounds):
            changed = False
            for units in channels.classes:
                packed, order = _best(packed, channels, units, context, self)
                if order != AS_IT_WAS or _title(channels, units) not in chosen:
                    chosen[_title(channels, units)] = order
                changed |= order != AS_IT_WAS
            if not changed:
                break
        gain = before - size_of(packed, context)
        if gain <= 0:
            packed, gain, chosen = start, 0, dict.fromkeys(chosen, AS_IT_WAS)
        return Outcome(packed, notes={"bytes_saved": gain, "orders": chosen})


def _best(
    packed: Packed, channels: Channels, units: np.ndarray, context: Context, wanted: OrderUnits
) -> tuple[Packed, str]:
    """The network with the order of these units that takes the fewest bytes, and its name."""
    names = _concerned(channels, units)
    best, least, chosen = packed, size_of(part_of(packed, names), context), AS_IT_WAS
    for title, order in _orders(packed, channels, units, wanted):
        tried = operated(packed, reordered(channels, [order]))
        size = size_of(part_of(tried, names), context)
        if size < least:
            best, least, chosen = tried, size, title
    return best, chosen


def _orders(
    packed: Packed, channels: Channels, units: np.ndarray, wanted: OrderUnits
) -> Iterator[tuple[str, np.ndarray]]:
    """Orders to try, by name; the same one is not tried twice."""
    tried = [units]
    found = _by_strength(packed, channels, units)
    if wanted.blocks:
        found = chain(found, _by_blocks(packed, channels, units))
    if wanted.embedding:
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


def _concerned(channels: Channels, units: np.ndarray) -> Sequence[str]:
    """Tensors along which some of the units lie."""
    lie = [name for (name, _), line in channels.tensors.items() if np.isin(line, units).any()]
    return list(dict.fromkeys(lie))


def _title(channels: Channels, units: np.ndarray) -> str:
    """The group that units are in, and how many they are."""
    for name, group in channels.groups.items():
        if units[0] in group:
            return f"{name}[{units[0]}]" if units.size < group.size else name
    return str(units[0])
