"""What orders of units save in files of pruned networks, from a random order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from reticule.codec import About, dumps, load
from reticule.forms import Packed, channels_of, operated
from reticule.graph.channels import reordered
from reticule.methods import Context, OrderUnits, RemoveDeadUnits

WAYS = {
    "strength": OrderUnits(),
    "communities": OrderUnits(communities=True),
    "blocks": OrderUnits(blocks=True),
    "blocks, communities": OrderUnits(blocks=True, communities=True),
    "embedding": OrderUnits(embedding=True),
}
"""What is tried beside orders by strength, which always are."""
COLUMNS = ("bytes_before", "bytes_after", "seconds")


def rows(path: Path, seeds: int) -> Iterator[tuple[tuple[str, str, int], dict[str, float]]]:
    """File, way and seed; the file has an order by its recipe, so units are shuffled first."""
    packed = load(path).packed
    packed = RemoveDeadUnits().apply(packed, Context(packed.network())).packed
    channels = channels_of(packed)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        orders = [rng.permutation(units) for units in channels.classes]
        mixed = operated(packed, reordered(channels, orders))
        before = size(mixed)
        for way, stage in WAYS.items():
            start = time.process_time()
            made = stage.apply(mixed, Context(mixed.network())).packed
            seconds = time.process_time() - start
            values = {"bytes_before": before, "bytes_after": size(made), "seconds": seconds}
            yield (path.stem, way, seed), values


def size(packed: Packed) -> int:
    return len(dumps(packed, About()))
