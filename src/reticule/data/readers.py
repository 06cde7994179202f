"""Readers: one function per kind of source, each giving a Store or raising DataError."""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from reticule.data.arrays import as_array, read_arrays, read_named, stored
from reticule.data.folders import read_folder
from reticule.data.items import read_items
from reticule.data.pixels import is_lfs_pointer
from reticule.data.sources import Encoded
from reticule.data.store import Lazy, Store
from reticule.errors import DataError, MissingExtra

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read(source: Any, role: str = "") -> Store:
    """Any source that :class:`~reticule.data.Data` takes."""
    if isinstance(source, (str, PathLike)):
        return _read_path(Path(source), role)
    if isinstance(source, np.ndarray):
        return read_named("array", {"x": source})
    if isinstance(source, Mapping):
        arrays = {str(key): as_array(value, "arrays", f"'{key}'") for key, value in source.items()}
        return read_named("arrays", arrays)
    if isinstance(source, tuple) and len(source) == 2:
        return read_arrays("arrays", *source)
    indexed = hasattr(source, "__len__") and hasattr(source, "__getitem__")
    text = isinstance(source, (bytes, bytearray, memoryview))
    if (isinstance(source, Iterable) or indexed) and not text:
        return read_items(source)
    raise DataError(
        f"data: cannot read a {type(source).__name__}; give a path, (images, labels), a mapping "
        "of names to arrays, or a data set that gives one sample after the other"
    )


def _read_path(path: Path, role: str = "") -> Store:
    if path.is_dir():
        return read_folder(path, role)
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is no regular file; give a file or a folder")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file or folder") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise DataError(f"{path}: cannot be read ({reason})") from None
    if is_lfs_pointer(start):
        raise DataError(f"{path}: is a Git LFS pointer instead of data: run 'git lfs pull'")
    if path.suffix == ".parquet" or start[:4] == b"PAR1":
        return read_parquet(path)
    if path.suffix == ".npz" or start[:2] == b"PK":
        return read_npz(path)
    if start[:2] in (b"\0\0", b"\x1f\x8b"):
        return read_idx(path)
    raise DataError(
        f"{path.name}: not a kind of data that can be read; give a parquet file, an .npz, "
        "an idx file, or a folder with one sub-folder per class"
    )


def read_parquet(path: Path) -> Store:
    """A parquet file in the Hugging Face image layout; class names from its metadata."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("parquet files", "pyarrow", "data") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            column = _column(path, schema.names)
            labelled = schema.names != [column]
            table = file.read(columns=[column, "label"] if labelled else [column])
        images = table[column]
        if pyarrow.types.is_struct(images.type):
            images = pyarrow.compute.struct_field(images, "bytes")
        if not (pyarrow.types.is_binary(images.type) or pyarrow.types.is_large_binary(images.type)):
            raise DataError(f"{path.name}: column '{column}' does not hold encoded images")
        if images.null_count or (labelled and table["label"].null_count):
            raise DataError(f"{path.name}: some images have no bytes or no label; embed them")
        encoded = images.to_pylist()
        numbers = table["label"].to_numpy() if labelled else None
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as problem:
        raise DataError(f"{path.name}: unreadable parquet file ({_short(problem)})") from None

    names = _class_names(schema.metadata or {})
    return stored(path.name, len(encoded), numbers, names, Lazy(Encoded(path.name, encoded)))


def _column(path: Path, names: list[str]) -> str:
    columns = [name for name in ("image", "img") if name in names]
    if columns and len(names) == 1:  # images without labels
        return columns[0]
    if not columns or "label" not in names:
        wanted = "'label'" if columns else "'image' or 'img'"
        raise DataError(
            f"{path.name}: has no column {wanted}, only {', '.join(names) or 'none'}; "
            "rename the column"
        )
    return columns[0]


def _class_names(metadata: dict[bytes, bytes]) -> tuple[str, ...]:
    """Class names in the metadata that the Hugging Face library writes, if they are there."""
    try:
        found: Any = json.loads(metadata.get(b"huggingface", b"{}"))
    except ValueError:
        return ()
    for key in ("info", "features", "label", "names"):
        found = found.get(key) if isinstance(found, dict) else None
    is_list = isinstance(found, list) and all(isinstance(name, str) for name in found)
    return tuple(found) if is_list else ()


def read_npz(path: Path) -> Store:
    """Images, with labels or without, or one array for each input of a network."""
    try:
        with path.open("rb") as raw, np.lib.npyio.NpzFile(raw, allow_pickle=False) as file:
            return read_named(path.name, _Members(file))
    except (
        OSError, ValueError, EOFError, LookupError, NotImplementedError, RuntimeError,
        MemoryError, AttributeError, struct.error, zipfile.BadZipFile, zlib.error,
    ) as problem:  # fmt: skip
        raise DataError(f"{path.name}: unreadable .npz ({_short(problem)})") from None


class _Members(Mapping[str, Any]):
    """The arrays of an ``.npz``, each read when it is first asked for."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._read: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._read:
            self._read[name] = self._file[name]
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.files)

    def __len__(self) -> int:
        return len(self._file.files)


def read_idx(path: Path) -> Store:
    """An idx file pair, plain or gzipped; either file is given, the other lies beside it."""
    name = path.name
    if "images" not in name and "labels" not in name:
        raise DataError(f"{name}: name an idx file ...images-idx3... or ...labels-idx1...")
    images, labels = (_idx_partner(path, kind) for kind in ("images", "labels"))
    return read_arrays(images.name, _idx(images), _idx(labels))


def _idx_partner(path: Path, kind: str) -> Path:
    other = "labels" if kind == "images" else "images"
    ranks = ("idx1", "idx3") if kind == "images" else ("idx3", "idx1")
    name = path.name.replace(other, kind)
    if name != path.name:
        name = name.replace(*ranks)
    plain = name.removesuffix(".gz")
    for candidate in (name, plain, plain + ".gz"):
        if (path.parent / candidate).is_file():
            return path.parent / candidate
    raise DataError(f"{path.name}: its partner {name} is missing; put it into the same folder")


def _idx(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            zero, kind, rank = struct.unpack(">HBB", file.read(4))
            shape = struct.unpack(f">{rank}I", file.read(4 * rank))
            if zero or kind not in _IDX_TYPES or not 1 <= rank <= 4:
                raise DataError(f"{path.name}: not an idx file")
            dtype = np.dtype(_IDX_TYPES[kind])
            raw = file.read(prod(shape) * dtype.itemsize + 1)
    except (OSError, EOFError, OverflowError, MemoryError, struct.error, zlib.error) as problem:
        raise DataError(f"{path.name}: unreadable idx file ({_short(problem)})") from None
    if len(raw) != prod(shape) * dtype.itemsize:
        raise DataError(
            f"{path.name}: declares {prod(shape)} numbers, but the file is longer or shorter"
        )
    return np.frombuffer(raw, dtype).astype(dtype.newbyteorder("=")).reshape(shape)


def _short(problem: BaseException) -> str:
    text = " ".join(str(problem).split())[:120]
    return text or type(problem).__name__
