"""Forms into bytes and back: one entry of ``REGISTRY`` for each form.

A tensor is a sequence of parts in postfix order: inner forms come before the form that
holds them, which takes them from a stack.  So neither direction recurses, and a reader
knows everything about the inner forms when it reads the outer one.

To add a form, write a :class:`FormCodec` for it and add it to ``REGISTRY``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reticule.codec import streams
from reticule.codec.bits import ByteReader, ByteWriter
from reticule.codec.limits import Budget, Limits, size_within
from reticule.codec.positions import MAX_STEP_BITS, encode_positions, gaps_to_rows
from reticule.errors import Fault, ModelError
from reticule.forms import Codebook, Dense, Form, Sparse, matrix_shape
from reticule.forms.base import Shape

MAX_CENTROIDS = 1 << 16
_DEFAULT = Limits()


@dataclass(frozen=True)
class Source:
    """What reading a part may use: its bytes, the forms inside it, and what it may allocate."""

    reader: ByteReader
    inner: list[Form]
    budget: Budget

    def stream(self, count: int, alphabet: int) -> np.ndarray:
        """The next stream of symbols, paid for from the budget."""
        self.budget.spend(count, self.reader.where)
        return streams.decode(self.reader, count, alphabet, self.budget.limits)

    def pop(self) -> Form:
        """The innermost form that nothing has taken yet; it must be a vector."""
        if not self.inner:
            raise self.reader.fail(Fault.TENSORS, "a form lacks the form inside it")
        form = self.inner.pop()
        if len(form.shape) != 1:
            raise self.reader.fail(Fault.TENSORS, f"an inner form has shape {form.shape}")
        return form


@dataclass(frozen=True)
class FormCodec:
    """How one form is stored: its class, the forms inside it, and its own data.

    ``read`` gets the form's shape, whose size has been checked.
    """

    kind: type[Form]
    inner: Callable[[Any], tuple[Form, ...]]
    write: Callable[[Any, ByteWriter], None]
    read: Callable[[Shape, Source], Form]


# Dense ----------------------------------------------------------------------------------------
# Each byte of the numbers is a stream of its own, lowest byte first: signs and exponents
# are predictable, mantissas are not.


def _write_dense(form: Dense, out: ByteWriter) -> None:
    if not np.isfinite(form.values).all():
        raise ModelError("weights are NaN or infinite; repair or retrain the network first")
    for plane in _planes(form.values):
        out.raw(streams.encode(plane, 256))


def _planes(values: np.ndarray) -> np.ndarray:
    """The bytes of a number array, lowest first: (bytes, count)."""
    width = values.dtype.itemsize
    little = values.astype(values.dtype.newbyteorder("<"), copy=False).ravel()
    return little.view(np.uint8).reshape(-1, width).T


def _dense_reader(dtype: str) -> Callable[[Shape, Source], Form]:
    def read(shape: Shape, source: Source) -> Form:
        width = np.dtype(dtype).itemsize
        count = int(np.prod(shape, dtype=np.int64))
        first = source.stream(count, 256)  # proves that there are bytes for so many numbers
        planes = np.empty((count, width), np.uint8)
        planes[:, 0] = first
        for index in range(1, width):
            planes[:, index] = streams.decode(source.reader, count, 256, source.budget.limits)
        values = planes.view(f"<{dtype}").reshape(shape).astype(dtype, copy=False)
        if not np.isfinite(values).all():
            raise source.reader.fail(Fault.BAD_VALUE)
        return Dense(values)

    return read


# Codebook -------------------------------------------------------------------------------------
# Indices are one stream; of more than 4096 centroids, two streams of bytes.


def _write_codebook(form: Codebook, out: ByteWriter) -> None:
    k = form.centroids.shape[0]
    if k > MAX_CENTROIDS:
        raise ModelError(f"{k} centroids; {MAX_CENTROIDS} are possible")
    if k <= streams.MAX_ALPHABET:
        out.raw(streams.encode(form.indices, max(k, 1)))
        return
    for plane, alphabet in zip(_planes(form.indices.astype("<u2")), _halves(k), strict=True):
        out.raw(streams.encode(plane, alphabet))


def _halves(k: int) -> tuple[int, int]:
    return 256, ((k - 1) >> 8) + 1


def _read_codebook(shape: Shape, source: Source) -> Form:
    centroids = source.pop()
    k = centroids.shape[0]
    count = int(np.prod(shape, dtype=np.int64))
    if k > MAX_CENTROIDS:
        raise source.reader.fail(Fault.TOO_LARGE, f"{k} centroids")
    if k <= streams.MAX_ALPHABET:
        indices = source.stream(count, max(k, 1))
    else:
        low, high = (source.stream(count, alphabet) for alphabet in _halves(k))
        indices = low | high << 8
    if count and int(indices.max()) >= k:
        raise source.reader.fail(Fault.BAD_INDEX, f"an index is not below {k}")
    return Codebook(indices.reshape(shape), centroids)


# Sparse ---------------------------------------------------------------------------------------
# A byte (log2 of the step, plus 16 if scanned by columns), the number of escapes, and the
# stream of gaps and escapes.  The number of stored weights is that of the values inside.


def _write_sparse(form: Sparse, out: ByteWriter) -> None:
    relative = encode_positions(form.positions(), *matrix_shape(form.shape))
    out.raw(bytes([relative.step.bit_length() - 1 | 16 * relative.by_columns]))
    out.varint(relative.symbols.size - form.columns.size)
    out.raw(relative.stream)


def _read_sparse(shape: Shape, source: Source) -> Form:
    values = source.pop()
    reader, count = source.reader, values.shape[0]
    rows, cols = matrix_shape(shape)
    head = reader.byte()
    bits, by_columns = head & 15, head >> 4
    if bits > MAX_STEP_BITS or by_columns > 1:
        raise reader.fail(Fault.BAD_STREAM, f"a position code of kind {head}")
    escapes = reader.varint()
    if count + (escapes << bits) > rows * cols or (escapes and not count):
        raise reader.fail(
            Fault.BAD_INDEX, f"{count} weights and {escapes} escapes in shape {shape}"
        )
    source.budget.spend(rows + 1, reader.where)
    symbols = source.stream(count + escapes, (1 << bits) + 1)
    try:
        indptr, columns = gaps_to_rows(symbols, 1 << bits, rows, cols, count, bool(by_columns))
    except ValueError as problem:
        raise reader.fail(Fault.BAD_INDEX, str(problem)) from None
    return Sparse(shape, indptr, columns, values)


# ----------------------------------------------------------------------------------------------

REGISTRY: dict[int, FormCodec] = {
    0: FormCodec(Dense, lambda form: (), _write_dense, _dense_reader("f4")),
    1: FormCodec(Dense, lambda form: (), _write_dense, _dense_reader("f2")),
    2: FormCodec(Codebook, lambda form: (form.centroids,), _write_codebook, _read_codebook),
    3: FormCodec(Sparse, lambda form: (form.values,), _write_sparse, _read_sparse),
}


def _tag_of(form: Form) -> int:
    if isinstance(form, Dense):
        return 0 if form.values.dtype == np.float32 else 1
    for tag, entry in REGISTRY.items():
        if type(form) is entry.kind:
            return tag
    raise ModelError(f"the form '{form.name}' cannot be stored in a .ret file")


def write_form(form: Form, out: ByteWriter) -> None:
    """Append a tensor's shape and the parts of its form.

    The shape of the last part is the tensor's own and stands first, together with the
    number of parts.
    """
    parts = []
    waiting = [form]
    while waiting:
        part = waiting.pop()
        parts.append(part)
        waiting.extend(REGISTRY[_tag_of(part)].inner(part))
    if len(parts) > _DEFAULT.form_parts:
        raise ModelError(f"{len(parts)} nested forms; {_DEFAULT.form_parts} are possible")
    _write_shape(form.shape, len(parts) - 1, out)
    for part in reversed(parts):
        tag = _tag_of(part)
        if part is form:
            out.varint(tag)
        else:
            _write_shape(part.shape, tag, out)
        REGISTRY[tag].write(part, out)


def _write_shape(shape: Shape, number: int, out: ByteWriter) -> None:
    """Rank and axes; the rank shares an integer with another number."""
    if len(shape) > _DEFAULT.rank:
        raise ModelError(f"shape {shape} has rank {len(shape)}; {_DEFAULT.rank} is possible")
    out.varint(len(shape) + 16 * number)
    for axis in shape:
        out.varint(axis)


def read_shape(reader: ByteReader, budget: Budget) -> tuple[Shape, int]:
    """The shape of a tensor, and the number of its parts."""
    parts, rank = divmod(reader.varint(), 16)
    if parts >= budget.limits.form_parts:
        raise reader.fail(Fault.TOO_LARGE, f"{parts + 1} nested forms")
    return _read_axes(reader, rank, budget), parts + 1


def _read_axes(reader: ByteReader, rank: int, budget: Budget) -> Shape:
    if rank > budget.limits.rank:
        raise reader.fail(Fault.TOO_LARGE, f"rank {rank}")
    shape = tuple(reader.varint() for _ in range(rank))
    size_within(shape, budget.limits, reader.where)
    return shape


def read_form(reader: ByteReader, shape: Shape, parts: int, budget: Budget) -> Form:
    """The form of a tensor whose shape has been read; it must use up all bytes and parts."""
    source = Source(reader, [], budget)
    for index in range(parts):
        last = index == parts - 1
        tag, rank = (reader.varint(), 0) if last else divmod(reader.varint(), 16)
        part = shape if last else _read_axes(reader, rank, budget)
        if tag not in REGISTRY:
            raise reader.fail(Fault.UNKNOWN_FORM, f"tag {tag}")
        source.inner.append(REGISTRY[tag].read(part, source))
    if len(source.inner) != 1:
        raise reader.fail(Fault.TENSORS, f"{len(source.inner) - 1} forms inside no other")
    reader.finish()
    return source.inner[0]
