"""Readers: one function per kind of source, each giving a Store or raising DataError."""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reticule.data.pixels import as_pixels, channels_first, decode, from_pillow
from reticule.data.store import Lazy, Ready, Store
from reticule.errors import DataError, MissingExtra

_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
}  # fmt: skip
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read(source: Any) -> Store:
    """Any source that :class:`~reticule.data.Data` takes."""
    if isinstance(source, (str, Path)):
        return _read_path(Path(source))
    if isinstance(source, tuple) and len(source) == 2:
        return read_arrays("arrays", *source)
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        return read_dataset(source)
    raise DataError(
        f"data: cannot read a {type(source).__name__}; give a path, (images, labels), "
        "or a data set with len() and [i]"
    )


def _read_path(path: Path) -> Store:
    if path.is_dir():
        return read_folder(path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file or folder") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise DataError(f"{path}: cannot be read ({reason})") from None
    if path.suffix == ".parquet" or start == b"PAR1":
        return read_parquet(path)
    if path.suffix == ".npz" or start[:2] == b"PK":
        return read_npz(path)
    if start[:2] in (b"\0\0", b"\x1f\x8b"):
        return read_idx(path)
    raise DataError(
        f"{path.name}: not a kind of data that can be read; give a parquet file, an .npz, "
        "an idx file, or a folder with one sub-folder per class"
    )


def read_arrays(name: str, images: Any, labels: Any, classes: tuple[str, ...] = ()) -> Store:
    """Two arrays: images of any layout with pixels in 0..255, and one integer label for each."""
    pixels = channels_first(as_pixels(_array(images, name, "images"), name), name)
    return _store(name, _array(labels, name, "labels"), classes, Ready(name, pixels), len(pixels))


def read_dataset(dataset: Any) -> Store:
    """Anything with ``len()`` and ``[i]`` giving (image, label), such as a torch ``Dataset``.

    An image is a Pillow image, or an array or tensor: integers in 0..255, or floats in
    0..1, which are taken as pixel/255.  Every item is read once, here, so a random
    augmentation is frozen.
    """
    name = type(dataset).__name__
    labels: list[Any] = []

    def where(index: int) -> str:
        return f"{name}: image {index}"

    def fetch(index: int) -> np.ndarray:
        image, label = _item(dataset, index, where(index))
        if index == len(labels):
            labels.append(label)
        if isinstance(image, Image.Image):
            return from_pillow(image, where(index))
        pixels = as_pixels(_array(image, name, f"image {index}"), where(index), unit=True)
        return channels_first(pixels[None], where(index))[0]

    count = len(dataset)
    images = Lazy(count, fetch, where, threads=False)
    for index in range(count):
        images.take(np.array([index]), None)
    return _store(name, _array(labels, name, "labels"), (), images, count)


def _item(dataset: Any, index: int, where: str) -> tuple[Any, Any]:
    try:
        image, label = dataset[index]
        return image, label
    except (OSError, ValueError, TypeError, LookupError, RuntimeError) as problem:
        text = " ".join(str(problem).split())[:120]
        raise DataError(f"{where}: no (image, label) pair comes back: {text}") from problem


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
            table = file.read(columns=[column, "label"])
        images, labels = table[column], table["label"]
        if pyarrow.types.is_struct(images.type):
            images = pyarrow.compute.struct_field(images, "bytes")
        if not (pyarrow.types.is_binary(images.type) or pyarrow.types.is_large_binary(images.type)):
            raise DataError(f"{path.name}: column '{column}' does not hold encoded images")
        if images.null_count or labels.null_count:
            raise DataError(f"{path.name}: some images have no bytes or no label; embed them")
        encoded, numbers = images.to_pylist(), labels.to_numpy()
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as problem:
        raise DataError(f"{path.name}: unreadable parquet file ({_short(problem)})") from None

    def where(index: int) -> str:
        return f"{path.name}: image {index}"

    images = Lazy(len(encoded), lambda index: decode(encoded[index], where(index)), where)
    names = _class_names(schema.metadata or {})
    return _store(path.name, numbers, names, images, len(encoded))


def _column(path: Path, names: list[str]) -> str:
    columns = [name for name in ("image", "img") if name in names]
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


def read_folder(path: Path) -> Store:
    """One sub-folder per class, in the order of their names; images at any depth in it.

    Files that do not have the suffix of an image, and hidden folders, are ignored.
    """
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise DataError(f"{path}: has no sub-folders; make one for each class, with its images")
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
        files += found
        labels += [label] * len(found)

    def where(index: int) -> str:
        return str(files[index].relative_to(path))

    images = Lazy(len(files), lambda index: decode(files[index], where(index)), where)
    classes = tuple(folder.name for folder in folders)
    return _store(path.name, np.array(labels, np.int64), classes, images, len(files))


def read_npz(path: Path) -> Store:
    """``images`` and ``labels``, or ``x`` and ``y``; ``classes`` may hold names."""
    try:
        with path.open("rb") as raw, np.lib.npyio.NpzFile(raw, allow_pickle=False) as file:
            pairs = [p for p in (("images", "labels"), ("x", "y")) if set(p) <= set(file.files)]
            if not pairs:
                raise DataError(
                    f"{path.name}: has the arrays {', '.join(file.files) or '(none)'}; "
                    "expected images and labels, or x and y"
                )
            images, labels = (file[name] for name in pairs[0])
            classes = file["classes"] if "classes" in file.files else np.array([], str)
    except (
        OSError, ValueError, EOFError, LookupError, NotImplementedError, RuntimeError,
        MemoryError, AttributeError, struct.error, zipfile.BadZipFile, zlib.error,
    ) as problem:  # fmt: skip
        raise DataError(f"{path.name}: unreadable .npz ({_short(problem)})") from None
    return read_arrays(path.name, images, labels, tuple(str(name) for name in classes.ravel()))


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


def _array(values: Any, name: str, what: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as problem:
        raise DataError(f"{name}: {what} do not form an array ({_short(problem)})") from None


def _store(
    name: str, labels: np.ndarray, classes: tuple[str, ...], images: Any, count: int
) -> Store:
    """Check what all kinds of source have in common."""
    if not count:
        raise DataError(f"{name}: has no images")
    if labels.shape == (len(labels), 1):
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"{name}: labels have shape {labels.shape}, expected one for each image")
    if len(labels) != count:
        raise DataError(f"{name}: has {count} images, but {len(labels)} labels")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{name}: labels are {labels.dtype}, expected integers from 0")
    if labels.max() > 2**31 or labels.min() < 0:
        odd = int(np.flatnonzero((labels < 0) | (labels > 2**31))[0])
        raise DataError(f"{name}: label {labels[odd]} of image {odd} is negative or too large")
    if labels.max() >= len(classes):
        classes = ()  # names that do not cover the labels would be wrong names
    return Store(name, labels.astype(np.int64), classes, images)


def _short(problem: BaseException) -> str:
    text = " ".join(str(problem).split())[:120]
    return text or type(problem).__name__
