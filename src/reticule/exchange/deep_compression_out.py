"""Deep Compression's ``.net`` files out, for networks with few different weights.

The layout is described in :mod:`reticule.exchange.net_layout`.  What was read from such a
file is written byte for byte as it was; any other form is written by its values.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from reticule.errors import ModelError
from reticule.exchange.net_layout import RULES, Place, pack, places_of, to_entries
from reticule.files import write_whole
from reticule.forms import Codebook, Dense, Form, Packed, Sparse


def save_deep_compression(packed: Packed, path: str | os.PathLike[str]) -> None:
    """Write a ``.net`` file; it appears whole or not at all.

    Raises ModelError naming a layer that has too many different weights for the layout.
    """
    write_whole(path, write_deep_compression(packed))


def write_deep_compression(packed: Packed) -> bytes:
    """The bytes of a ``.net`` file: all convolutions and linear layers, with their biases.

    A layer has room for 255 different weights beside zero if it is a convolution, and for
    15 if it is linear; with more, ModelError.
    """
    places = places_of(packed.graph)
    counts, records = [], []
    for place, bits in zip(places, _bits(packed, places), strict=True):
        count, record = _record(packed, place, bits)
        counts.append(count)
        records.append(record)
    return np.array(counts, "<u4").tobytes() + b"".join(records)


def _bits(packed: Packed, places: Sequence[Place]) -> list[int]:
    """Bits of a code in each layer: as they were read, else by operator."""
    read = [_table_of(packed.forms[place.weight]) for place in places]
    for rule in RULES:
        bits = [rule(place) for place in places]
        if all(t is None or t.size == 1 << b for t, b in zip(read, bits, strict=True)):
            return bits
    return [RULES[0](place) for place in places]


def without_a_place(packed: Packed) -> tuple[str, ...]:
    """Tensors that the layout has no place for, such as those of batch norms."""
    places = places_of(packed.graph)
    stored = {name for place in places for name in (place.weight, place.bias)}
    return tuple(name for name in packed.forms if name not in stored)


def _record(packed: Packed, place: Place, bits: int) -> tuple[int, bytes]:
    """Number of entries, and the bytes of a layer."""
    codebook, positions, codes = _coded(packed.forms[place.weight], place, bits)
    gaps, codes = to_entries(positions, codes)
    bias = packed.forms[place.bias].dense() if place.bias else np.zeros(place.outputs, "f4")
    parts = (
        codebook.astype("<f4").tobytes(),
        bias.astype("<f4").tobytes(),
        pack(codes, bits),
        pack(gaps, 4),
    )
    return gaps.size, b"".join(parts)


def _table_of(form: Form) -> np.ndarray | None:
    """The codebook of a form that can be written as it is: 16 or 256 values, 0.0 first."""
    if not (isinstance(form, Sparse) and isinstance(form.values, Codebook)):
        return None
    table = form.values.centroids
    if not (isinstance(table, Dense) and table.values.dtype == np.float32):
        return None
    fits = table.size in (16, 256) and not table.values[:1].view(np.uint32)[0]
    return table.values if fits else None


def _coded(form: Form, place: Place, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codebook with zero first, flat positions of what is stored, and its codes."""
    room = 1 << bits
    table = _table_of(form)
    if table is not None and table.size == room:
        assert isinstance(form, Sparse) and isinstance(form.values, Codebook)
        return table, form.positions(), form.values.indices
    # Bit patterns tell 0.0, which is what stands between entries, from -0.0.
    patterns = np.ascontiguousarray(form.dense()).reshape(-1).view(np.uint32)
    positions = np.flatnonzero(patterns)
    used, codes = np.unique(patterns[positions], return_inverse=True)
    if used.size >= room:
        raise ModelError(
            f"layer '{place.node.name}' has {used.size:,} different weights beside zero; a .net "
            f"file has room for {room - 1} in a {'convolution' if bits == 8 else 'linear layer'}; "
            "share weights first"
        )
    codebook = np.zeros(room, np.float32)
    codebook[1 : 1 + used.size] = used.view(np.float32)
    return codebook, positions, codes + 1
