"""The ``.ret`` file: a header, metadata, and one record for each tensor.

docs/format.md is the specification.  The same network and description give the same
bytes; nothing in a file tells where or when it was made.

>>> import numpy as np
>>> from reticule.forms import Packed
>>> from reticule.graph import Graph, Network, Node
>>> graph = Graph({"x": (2,)}, ("y",), (Node("Gemm", "fc", ("x", "w"), ("y",)),), {"w": (3, 2)})
>>> packed = Packed.of(Network(graph, {"w": np.ones((3, 2), "f4")}))
>>> data = dumps(packed, About(seed=1))
>>> loaded = loads(data)
>>> loaded.about.seed, loaded.packed.forms["w"].dense().shape, loaded.bytes_file == len(data)
(1, (3, 2), True)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

from reticule.codec.about import About
from reticule.codec.bits import ByteReader, ByteWriter
from reticule.codec.forms import read_form, read_shape, write_form
from reticule.codec.limits import Budget, Limits
from reticule.codec.metadata import Metadata, read_metadata, write_metadata
from reticule.errors import Fault, FormatError, ModelError, ReticuleError
from reticule.files import write_whole
from reticule.forms import Form, Packed
from reticule.forms.base import Shape

MAGIC = b"\x89RET"
VERSION = 1
_HEADER = 64  # no header is longer
_DEFAULT = Limits()


@dataclass(frozen=True)
class Stored:
    """A network as it is in a file, and how many bytes it takes there.

    ``tensor_bytes`` (by tensor, in the file's order) adds up to ``bytes_weights``.
    """

    packed: Packed
    about: About
    bytes_file: int
    bytes_weights: int
    tensor_bytes: dict[str, int]


Saved: TypeAlias = Stored
Loaded: TypeAlias = Stored


# Writing --------------------------------------------------------------------------------------


def save(path: str | os.PathLike[str], packed: Packed, about: About) -> Saved:
    """Write a file, or leave what was there untouched and raise ReticuleError."""
    data, saved = _encode(packed, about)
    write_whole(path, data)
    return saved


def dumps(packed: Packed, about: About) -> bytes:
    """The bytes of a file."""
    return _encode(packed, about)[0]


def _encode(packed: Packed, about: About) -> tuple[bytes, Saved]:
    graph = packed.graph.check()
    if set(graph.tensors) != set(packed.forms):
        odd = min(set(graph.tensors) ^ set(packed.forms))
        raise ModelError(f"tensor '{odd}' is in the graph or has a form, but not both")
    deflated, inflated = write_metadata(Metadata.of(graph, about))
    read_metadata(deflated, inflated, "the network", _DEFAULT)  # names and limits hold
    records = {
        name: _record(name, packed.forms[name], tuple(shape))
        for name, shape in graph.tensors.items()
    }
    weights = sum(form.size for form in packed.forms.values())
    section = sum(map(len, records.values()))
    out = ByteWriter()
    out.raw(MAGIC)
    out.raw(bytes([VERSION]))
    for number in (len(deflated), inflated, section, weights):
        out.varint(number)
    out.raw(deflated)
    out.checksum()
    for record in records.values():
        out.raw(record)
    data = out.bytes()
    _read_header(ByteReader(data, "the network"), len(data), _DEFAULT)
    sizes = {name: len(record) for name, record in records.items()}
    return data, Stored(packed, about, len(out), section, sizes)


def _record(name: str, form: Form, shape: Shape) -> bytes:
    """Length, form and checksum of one tensor."""
    if form.shape != shape:
        raise ModelError(f"tensor '{name}' has a form of shape {form.shape}, not {shape}")
    body = ByteWriter()
    try:
        write_form(form, body)
    except ModelError as problem:
        raise ModelError(f"tensor '{name}': {problem}") from None
    out = ByteWriter()
    out.varint(len(body))
    out.raw(body.bytes())
    out.checksum()
    return out.bytes()


# Reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Header:
    deflated: int
    inflated: int
    section: int
    weights: int


@dataclass(frozen=True)
class _Record:
    """A tensor whose checksum and shape have been read, but not its form."""

    reader: ByteReader
    shape: Shape
    parts: int
    size: int  # in bytes


def load(path: str | os.PathLike[str], limits: Limits = _DEFAULT) -> Loaded:
    """Read a file; FormatError if it is not valid, ReticuleError if it cannot be read."""
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(min(size, _HEADER))
            _read_header(ByteReader(head, name), size, limits)
            file.seek(0)
            data = file.read(size)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise ReticuleError(
            f"{name}: cannot be read ({reason}); give the path of a .ret file"
        ) from None
    return loads(data, limits, name)


def loads(data: bytes, limits: Limits = _DEFAULT, name: str = "the data") -> Loaded:
    """Read the bytes of a file; ``name`` is what errors call them."""
    reader = ByteReader(data, name)
    header = _read_header(reader, len(data), limits)
    deflated = bytes(reader.raw(header.deflated))
    reader.checksum()
    metadata = read_metadata(deflated, header.inflated, name, limits)
    budget = Budget(header.weights, limits)
    records = dict(zip(metadata.tensors, _records(reader, metadata.tensors, budget), strict=True))
    reader.finish()
    weights = sum(prod(record.shape) for record in records.values())
    if weights != header.weights:
        raise FormatError(
            Fault.TENSORS, name, f"{weights} weights, the header says {header.weights}"
        )
    graph = metadata.graph([record.shape for record in records.values()], name)
    forms = {
        tensor: read_form(record.reader, record.shape, record.parts, budget)
        for tensor, record in records.items()
    }
    sizes = {tensor: record.size for tensor, record in records.items()}
    return Stored(Packed(graph, forms), metadata.about, len(data), header.section, sizes)


def _read_header(reader: ByteReader, size: int, limits: Limits) -> _Header:
    """The header of a file of so many bytes: its lengths must add up, and keep to the limits."""
    if reader.left < len(MAGIC) or reader.raw(len(MAGIC)) != MAGIC:
        raise reader.fail(Fault.NOT_RET)
    if (version := reader.byte()) != VERSION:
        raise reader.fail(Fault.VERSION, f"{version}; this reads {VERSION}")
    header = _Header(*(reader.varint() for _ in range(4)))
    if header.inflated > limits.metadata_bytes or header.deflated > 2 * limits.metadata_bytes:
        raise reader.fail(Fault.TOO_LARGE, f"{header.inflated} bytes of metadata")
    if header.weights > limits.elements:
        raise reader.fail(Fault.TOO_LARGE, f"{header.weights} weights")
    if header.section > 6 * header.weights + (16 << 20):
        raise reader.fail(Fault.TOO_LARGE, f"{header.section} bytes for {header.weights} weights")
    expected = reader.at + header.deflated + 4 + header.section
    if expected > size:
        raise reader.fail(Fault.TRUNCATED, f"{size} of {expected} bytes")
    if expected < size:
        raise reader.fail(Fault.TRAILING, f"{size - expected} bytes")
    return header


def _records(reader: ByteReader, tensors: tuple[str, ...], budget: Budget) -> Iterator[_Record]:
    """The records of all tensors, checksums checked."""
    for tensor in tensors:
        start = reader.at
        length = reader.varint()
        body = reader.raw(length)
        reader.checksum(start)
        inner = ByteReader(body, f"{reader.where}: tensor '{tensor}'")
        shape, parts = read_shape(inner, budget)
        yield _Record(inner, shape, parts, reader.at - start)
