"""The ``.ret`` file: a header, metadata, the structure of all tensors, and chunks.

docs/format.md is the specification.  The same network, description and preset give the
same bytes; nothing in a file tells where or when it was made.

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
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from reticule.codec.about import About
from reticule.codec.accounting import shared_out
from reticule.codec.bits import ByteReader, ByteWriter
from reticule.codec.encoded import DEFAULT_PRESET, Weights, encode_weights
from reticule.codec.limits import Limits
from reticule.codec.metadata import Metadata, read_metadata, write_metadata
from reticule.codec.section import Section, Slices
from reticule.errors import Fault, ReticuleError
from reticule.files import write_whole
from reticule.forms import Form, Packed

MAGIC = b"\x89RET"
VERSION = 2
_HEADER = 64  # no header is longer
_CRC = 4
_DEFAULT = Limits()


@dataclass(frozen=True)
class Stored:
    """A network as it is in a file, and how many bytes it takes there.

    ``tensor_bytes`` (by tensor, in the file's order) adds up to ``bytes_weights``: what
    tensors share, such as checksums, is divided among them.  ``bytes_coded`` is the part
    of ``bytes_weights`` that entropy coders made.  ``part_bytes`` adds up to ``bytes_file``:
    see :data:`~reticule.codec.accounting.PARTS`.
    """

    packed: Packed
    about: About
    preset: str
    bytes_file: int
    bytes_weights: int
    bytes_coded: int
    tensor_bytes: dict[str, int]
    part_bytes: dict[str, int]


Saved: TypeAlias = Stored
Loaded: TypeAlias = Stored


# Writing --------------------------------------------------------------------------------------


def save(
    path: str | os.PathLike[str],
    packed: Packed,
    about: About,
    preset: str = DEFAULT_PRESET,
    weights: Weights | None = None,
) -> Saved:
    """Write a file, or leave what was there untouched and raise ReticuleError.

    ``weights``: see :func:`dumps`.
    """
    parts, saved = _encode(packed, about, preset, weights)
    write_whole(path, parts)
    return saved


def dumps(
    packed: Packed, about: About, preset: str = DEFAULT_PRESET, weights: Weights | None = None
) -> bytes:
    """The bytes of a file.

    ``weights`` are those of :func:`encode_weights`, where they are known already; ValueError if
    they are those of other forms.

    >>> import numpy as np
    >>> from reticule.forms import Packed
    >>> from reticule.graph import Graph, Network
    >>> packed = Packed.of(Network(Graph({"x": (2,)}, ("x",), (), {"w": (9,)}), {"w": np.ones(9)}))
    >>> weights = encode_weights(packed)
    >>> dumps(packed, About(seed=1), weights=weights) == dumps(packed, About(seed=1))
    True
    """
    return b"".join(_encode(packed, about, preset, weights)[0])


def size_of(
    packed: Packed, about: About, preset: str = DEFAULT_PRESET, weights: Weights | None = None
) -> int:
    """The length of what :func:`dumps` gives."""
    return _encode(packed, about, preset, weights)[1].bytes_file


def _encode(
    packed: Packed, about: About, preset: str, weights: Weights | None
) -> tuple[tuple[bytes, bytearray], Saved]:
    """A file in two parts: what lies before the chunks, and those."""
    if weights is not None:
        weights.check(packed, preset)
    graph = packed.graph.check()
    deflated, inflated = write_metadata(Metadata.of(graph, about))
    read_metadata(deflated, inflated, "the network", _DEFAULT)  # names and limits hold
    section = (weights or encode_weights(packed, preset)).section
    out = ByteWriter()
    out.raw(MAGIC)
    out.raw(bytes([VERSION]))
    bytes_weights = section.size + _CRC
    count = sum(form.size for form in packed.forms.values())
    for number in (len(deflated), inflated, len(section.head), bytes_weights, count):
        out.varint(number)
    out.raw(deflated)
    out.raw(section.head)
    out.checksum()
    first = out.bytes()
    behind = _Unread(section.size - len(section.head))
    bytes_file = len(first) + len(behind)
    header = _read_header(ByteReader(first, "the network"), bytes_file, _DEFAULT)
    _before_chunks(header, first, behind, "the network", _DEFAULT)  # limits hold here too
    sizes = shared_out(graph, section.costs, bytes_weights, bytes_file)
    saved = Stored(packed, about, preset, bytes_file, bytes_weights, section.bytes_coded, *sizes)
    return (first, section.chunks), saved


@dataclass(frozen=True)
class _Unread:
    """Chunks of which only the length matters."""

    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, span: slice, /) -> bytes:
        return b""


# Reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Header:
    size: int
    deflated: int
    inflated: int
    head: int
    section: int
    weights: int

    @property
    def chunks_at(self) -> int:
        """Where the first chunk begins."""
        return self.size + self.deflated + self.head + _CRC


def load(
    path: str | os.PathLike[str], limits: Limits = _DEFAULT, threads: int | None = None
) -> Loaded:
    """Read a file; FormatError if it is not valid, ReticuleError if it cannot be read.

    Chunks are decoded by so many threads at once (None: one for each processor).
    """
    name = os.fspath(path)
    return loads(_contents(name, limits), limits, name, threads)


def load_tensor(path: str | os.PathLike[str], tensor: str, limits: Limits = _DEFAULT) -> Form:
    """One tensor of a file, by name; only the chunks that hold it are read, checked and decoded."""
    name = os.fspath(path)
    with _opened(name) as (file, size):
        header = _read_header(ByteReader(file.read(_HEADER), name), size, limits)
        file.seek(0)
        chunks = _InFile(file, header.chunks_at, size)
        opened = _before_chunks(header, file.read(header.chunks_at), chunks, name, limits)
        if tensor not in opened.metadata.tensors:
            raise ReticuleError(f"{name}: there is no tensor '{tensor}'; 'inspect' lists them")
        return opened.section.forms([tensor], 1)[0][tensor]


@dataclass(frozen=True)
class _InFile:
    """Bytes from a place in a file to its end, read when they are wanted."""

    file: BinaryIO
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, span: slice, /) -> bytes:
        self.file.seek(self.start + span.start)
        return self.file.read(span.stop - span.start)


def loads(
    data: bytes, limits: Limits = _DEFAULT, name: str = "the data", threads: int | None = None
) -> Loaded:
    """Read the bytes of a file; ``name`` is what errors call them."""
    opened = _open(data, name, limits)
    header, metadata, section = opened.header, opened.metadata, opened.section
    graph = metadata.graph(section.shapes, name)
    forms, hints = section.forms(metadata.tensors, threads)
    sizes = shared_out(graph, section.costs, header.section, len(data))
    return Stored(
        Packed(graph, forms, hints),
        metadata.about,
        section.preset,
        len(data),
        header.section,
        section.bytes_coded,
        *sizes,
    )


@contextmanager
def _opened(name: str) -> Iterator[tuple[BinaryIO, int]]:
    """A file and its size; what cannot be read becomes a ReticuleError."""
    try:
        file = open(name, "rb")  # noqa: SIM115 (closed below)
    except (OSError, ValueError) as problem:  # ValueError: a name that no file can have
        raise _unreadable(name, problem) from None
    with file:
        try:
            yield file, os.fstat(file.fileno()).st_size
        except OSError as problem:
            raise _unreadable(name, problem) from None


def _unreadable(name: str, problem: Exception) -> ReticuleError:
    reason = getattr(problem, "strerror", None) or str(problem)
    return ReticuleError(f"{name}: cannot be read ({reason}); give the path of a .ret file")


def _contents(name: str, limits: Limits) -> bytes:
    """A file's bytes, read only if its header agrees with its size."""
    with _opened(name) as (file, size):
        _read_header(ByteReader(file.read(_HEADER), name), size, limits)
        file.seek(0)
        return file.read(size)


@dataclass(frozen=True)
class _Opened:
    """Everything but the contents of chunks."""

    header: _Header
    metadata: Metadata
    section: Section


def _open(data: bytes, name: str, limits: Limits) -> _Opened:
    """Check and read the bytes of a file up to its chunks."""
    header = _read_header(ByteReader(data, name), len(data), limits)
    return _before_chunks(header, data, memoryview(data)[header.chunks_at :], name, limits)


def _before_chunks(
    header: _Header, data: bytes, chunks: Slices, name: str, limits: Limits
) -> _Opened:
    """Check and read what lies between header and chunks; the data begin with the header."""
    reader = ByteReader(data, name)
    reader.raw(header.size)
    deflated = bytes(reader.raw(header.deflated))
    head = ByteReader(reader.raw(header.head), name)
    reader.checksum()
    metadata = read_metadata(deflated, header.inflated, name, limits)
    section = Section.read(head, chunks, metadata.tensors, header.weights, limits)
    return _Opened(header, metadata, section)


def _read_header(reader: ByteReader, size: int, limits: Limits) -> _Header:
    """The header of a file of so many bytes: its lengths must add up, and keep to the limits."""
    if reader.left < len(MAGIC) or reader.raw(len(MAGIC)) != MAGIC:
        raise reader.fail(Fault.NOT_RET)
    if (version := reader.byte()) != VERSION:
        raise reader.fail(Fault.VERSION, f"{version}; this reads {VERSION}")
    numbers = [reader.varint() for _ in range(5)]
    header = _Header(reader.at, *numbers)
    if header.inflated > limits.metadata_bytes or header.deflated > 2 * limits.metadata_bytes:
        raise reader.fail(Fault.TOO_LARGE, f"{header.inflated} bytes of metadata")
    if header.weights > limits.weights_of(header.section):
        raise reader.fail(Fault.TOO_LARGE, f"{header.weights} weights in {header.section} bytes")
    if header.section > 6 * header.weights + (16 << 20):
        raise reader.fail(Fault.TOO_LARGE, f"{header.section} bytes for {header.weights} weights")
    if header.head + _CRC > header.section:
        raise reader.fail(Fault.TRUNCATED, f"a section of {header.section} bytes")
    expected = reader.at + header.deflated + header.section
    if expected > size:
        raise reader.fail(Fault.TRUNCATED, f"{size} of {expected} bytes")
    if expected < size:
        raise reader.fail(Fault.TRAILING, f"{size - expected} bytes")
    return header
