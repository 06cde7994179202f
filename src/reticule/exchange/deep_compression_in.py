"""Deep Compression's ``.net`` files in: sparse codebooks, exactly as they are stored.

The layout is described in :mod:`reticule.exchange.net_layout`.  A file is not trusted:
its lengths must add up to the byte, and every entry must lie inside its layer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reticule.errors import ModelError, ReticuleError
from reticule.exchange.net_layout import RULES, Place, from_entries, places_of, unpack
from reticule.forms import Codebook, Dense, Packed, Sparse, matrix_shape
from reticule.graph import Graph

_HINT = "is this the network that the file was made from?"


@dataclass(frozen=True)
class Read:
    """A network whose weights came from a ``.net`` file, and the bytes of each tensor there.

    ``kept`` names tensors that the layout has no place for, such as those of batch norms:
    they are as they were in the network that gave the architecture.
    """

    packed: Packed
    tensor_bytes: Mapping[str, int]
    kept: tuple[str, ...]


def load_deep_compression(path: str | os.PathLike[str], like: Packed) -> Read:
    """Read a ``.net`` file with the architecture of ``like``.

    Raises ModelError naming the layer that does not fit, ReticuleError if the file cannot
    be read.
    """
    name = os.fspath(path)
    places = places_of(like.graph)
    try:
        with open(name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(4 * len(places))
            entries = _entries(head, places, name)
            bits = _bits(entries, places, size)
            body = file.read(_total(entries, places, bits) - len(head))
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise ReticuleError(
            f"{name}: cannot be read ({reason}); give the path of a .net file"
        ) from None
    return _read(body, size - len(head), entries, bits, places, like, name)


def read_deep_compression(data: bytes, like: Packed, name: str = "the data") -> Read:
    """Read the bytes of a ``.net`` file; ``name`` is what errors call them."""
    places = places_of(like.graph)
    head = data[: 4 * len(places)]
    entries = _entries(head, places, name)
    bits = _bits(entries, places, len(data))
    return _read(data[len(head) :], len(data) - len(head), entries, bits, places, like, name)


def _entries(head: bytes, places: Sequence[Place], name: str) -> list[int]:
    """Entries of each layer, none of which has more than weights."""
    if len(head) < 4 * len(places):
        raise ModelError(
            f"{name}: ends too early: {len(head)} bytes are no table of {len(places)} layers"
        )
    entries = np.frombuffer(head, "<u4").tolist()
    for place, count in zip(places, entries, strict=True):
        if count > place.size:
            raise _misfit(name, place, f"{count} entries for {place.size} weights")
    return entries


def _bits(entries: Sequence[int], places: Sequence[Place], size: int) -> list[int]:
    """Bits of a code in each layer: by the first rule with which all lengths add up."""
    found = [[rule(place) for place in places] for rule in RULES]
    return next((bits for bits in found if _total(entries, places, bits) == size), found[0])


def _total(entries: Sequence[int], places: Sequence[Place], bits: Sequence[int]) -> int:
    """Bytes of a whole file."""
    records = (
        sum(place.record(count, width))
        for place, count, width in zip(places, entries, bits, strict=True)
    )
    return 4 * len(places) + sum(records)


def _misfit(name: str, place: Place, problem: str) -> ModelError:
    return ModelError(f"{name}: layer '{place.node.name}' does not fit: {problem}; {_HINT}")


@dataclass(frozen=True)
class _Record:
    place: Place
    weight: Sparse
    bias: np.ndarray
    weight_bytes: int


def _read(
    body: bytes,
    size: int,
    entries: Sequence[int],
    bits: Sequence[int],
    places: Sequence[Place],
    like: Packed,
    name: str,
) -> Read:
    """Records into forms.  ``size`` is what follows the table in the file."""
    records = list(_records(memoryview(body), size, entries, bits, places, name))
    expected = sum(r.weight_bytes + r.bias.nbytes for r in records)
    if expected != size:
        raise ModelError(
            f"{name}: {size - expected} bytes are left behind the last layer, "
            f"'{places[-1].node.name}'; {_HINT}"
        )
    graph, forms, sizes = like.graph, dict(like.forms), dict.fromkeys(like.forms, 0)
    for record in records:
        place, weight = record.place, record.place.weight
        forms[weight] = record.weight
        sizes[weight] = 4 + record.weight_bytes
        bias = place.bias
        if place.shared if bias else record.bias.tobytes().strip(b"\0"):
            graph, bias = _with_bias(graph, place)
        if bias:
            forms[bias] = Dense(record.bias)
        sizes[bias or weight] = sizes.get(bias or weight, 0) + record.bias.nbytes
    used = {tensor for node in graph.nodes for tensor in node.inputs}
    forms = {tensor: form for tensor, form in forms.items() if tensor in used}
    sizes = {tensor: sizes[tensor] for tensor in forms}
    graph = replace(graph, tensors={tensor: form.shape for tensor, form in forms.items()})
    kept = tuple(tensor for tensor, count in sizes.items() if not count)
    return Read(Packed(graph.check(), forms), sizes, kept)


def _with_bias(graph: Graph, place: Place) -> tuple[Graph, str]:
    """The graph with a bias tensor for this layer alone."""
    taken = {*graph.inputs, *graph.tensors, *(name for n in graph.nodes for name in n.outputs)}
    bias = f"{place.weight}.bias"
    while bias in taken:
        bias += "_"
    nodes = tuple(
        replace(node, inputs=(*node.inputs[:2], bias)) if node.name == place.node.name else node
        for node in graph.nodes
    )
    tensors = {**graph.tensors, bias: (place.outputs,)}
    return replace(graph, nodes=nodes, tensors=tensors), bias


def _records(
    body: memoryview,
    size: int,
    entries: Sequence[int],
    bits: Sequence[int],
    places: Sequence[Place],
    name: str,
) -> Iterator[_Record]:
    """The layers one after the other, each checked against its place."""
    at = 0
    for place, count, width in zip(places, entries, bits, strict=True):
        lengths = place.record(count, width)
        if at + sum(lengths) > size:
            missing = at + sum(lengths) - size
            raise _misfit(name, place, f"{missing} bytes are missing at the end of the file")
        parts = []
        for length in lengths:
            parts.append(body[at : at + length])
            at += length
        table, bias = (np.frombuffer(part, "<f4").astype("f4") for part in parts[:2])
        codes, gaps = unpack(parts[2], count, width), unpack(parts[3], count, 4)
        if table[:1].view(np.uint32)[0]:
            raise _misfit(name, place, f"its codebook begins with {table[0]:g}, not with zero")
        if not np.isfinite(bias).all():
            raise _misfit(name, place, "a bias is NaN or infinite")
        weight = _weight(gaps, codes, table, place, name)
        yield _Record(place, weight, bias, sum(lengths) - bias.nbytes)


def _weight(
    gaps: np.ndarray, codes: np.ndarray, table: np.ndarray, place: Place, name: str
) -> Sparse:
    """Entries and codebook as a form."""
    positions, codes = from_entries(gaps, codes)
    if positions.size and positions[-1] >= place.size:
        outside = int(positions[-1])
        raise _misfit(name, place, f"an entry is at {outside}, behind its {place.size} weights")
    finite = np.isfinite(table)
    if not finite[codes].all():
        raise _misfit(name, place, "a weight is NaN or infinite")
    rows, columns = matrix_shape(place.shape)
    starts = np.searchsorted(positions, np.arange(rows + 1, dtype=np.int64) * columns)
    # A centroid that is not finite belongs to a cluster without weights.
    values = Codebook(codes, Dense(np.where(finite, table, np.float32(0))))
    return Sparse(place.shape, starts.astype(np.uint32), positions % max(columns, 1), values)
