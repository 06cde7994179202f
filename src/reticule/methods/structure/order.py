"""The order of units, which is free: the one whose file is smallest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from reticule.forms import Packed, channels_of, operated
from reticule.graph.channels import Channels, reordered
from reticule.methods.base import Context, Outcome, method
from reticule.methods.structure.candidates import candidates
from reticule.methods.structure.sizes import part_of, size_of

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
    the densest block first; with ``communities`` also by the communities of those weights
    (Louvain and Leiden), the strongest first; with ``embedding`` also by the two leading
    coordinates of a spectral embedding of those weights, with their signs and without
    (:mod:`reticule.science.embeddings`), so that units which are alike stand side by side.  One
    is kept where the tensors that it concerns take fewer bytes.  ``rounds`` is how often that
    goes over the network, as layers share units.

    Source: ours; that units can be permuted at will: Hecht-Nielsen, "On the algebraic
    structure of feedforward network weight spaces", 1990.  Communities: Blondel et al., "Fast
    unfolding of communities in large networks", 2008; Traag, Waltman, van Eck, "From Louvain to
    Leiden: guaranteeing well-connected communities", 2019.
    """

    rounds: Annotated[int, Field(ge=1)] = 2
    blocks: bool = False
    communities: bool = False
    embedding: bool = False

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        channels = channels_of(packed)
        start, before = packed, size_of(packed, context)
        chosen: dict[str, str] = {}
        count = self.rounds * len(channels.classes)
        with context.progress.bar("orders", count) as bar:
            for _ in range(self.rounds):
                changed = False
                for units in channels.classes:
                    packed, order = _best(packed, channels, units, context, self)
                    if order != AS_IT_WAS or _title(channels, units) not in chosen:
                        chosen[_title(channels, units)] = order
                    changed |= order != AS_IT_WAS
                    bar.advance()
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
    also = {
        "blocks": wanted.blocks,
        "communities": wanted.communities,
        "embedding": wanted.embedding,
    }
    for title, order in candidates(packed, channels, units, **also):
        tried = operated(packed, reordered(channels, [order]))
        size = size_of(part_of(tried, names), context)
        if size < least:
            best, least, chosen = tried, size, title
    return best, chosen


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
