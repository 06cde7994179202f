"""Folders of images: one sub-folder for each class, or images alone, and all that is neither."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reticule.data.classes import natural
from reticule.data.pixels import starts_like_an_image
from reticule.data.sources import Files
from reticule.data.store import Lazy, Store
from reticule.errors import DataError

_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif",
}  # fmt: skip
_SYSTEM = {
    "__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found",
    "system volume information", "__pycache__",
}  # fmt: skip
_SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "dev": "val", "test": "test", "testing": "test",
}  # fmt: skip
_OTHER_DATA = {".parquet", ".npz", ".gz", ".npy", ".zip", ".tar", ".csv", ".heic"}


def read_folder(path: Path, role: str = "") -> Store:
    """One sub-folder per class, numbered in natural order of the names, images at any depth.

    Images without sub-folders have no labels.  Passed over are hidden and system files, and files
    that neither have the suffix of an image nor, without any suffix, begin like one.  Raises
    DataError for everything else, with what to do; ``role`` (train, val, test) says which split
    is meant.
    """
    try:
        return _read(path, role)
    except OSError as problem:
        raise DataError(f"{problem.filename}: cannot be read ({problem.strerror})") from None


@dataclass(frozen=True)
class _Found:
    """Images in a folder, at any depth, and the suffixes of its other files."""

    images: list[Path]
    others: Counter[str]

    @classmethod
    def below(cls, folder: Path) -> _Found:
        images: list[Path] = []
        others: Counter[str] = Counter()
        seen: set[str] = set()
        for root, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
            real = os.path.realpath(root)
            if real in seen:  # links that lead in a circle
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in folders if not _is_passed_over(name)]
            for file in (Path(root, name) for name in names if not _is_passed_over(name)):
                if _is_image(file):
                    images.append(file)
                else:
                    others[file.suffix.lower()] += 1
        return cls(sorted(images), others)


def _read(path: Path, role: str) -> Store:
    entries = [entry for entry in path.iterdir() if not _is_passed_over(entry.name)]
    folders = sorted((e for e in entries if e.is_dir()), key=lambda e: natural(e.name))
    loose = sorted(entry for entry in entries if not entry.is_dir() and _is_image(entry))
    _refuse_splits(path, folders, role)
    found = [_Found.below(folder) for folder in folders]
    if not any(each.images for each in found):
        if not loose:
            others = Counter(entry.suffix.lower() for entry in entries if not entry.is_dir())
            for each in found:
                others += each.others
            raise DataError(_without_images(path, folders, others))
        return Store(_name(path), images=Lazy(Files(path, loose)))
    if loose:
        full = [folder.name for folder, each in zip(folders, found, strict=True) if each.images]
        raise DataError(
            f"{path}: has {len(loose)} images ({loose[0].name}, ...) beside folders with images "
            f"({_some(full)}); put them into the folder of their class, or elsewhere"
        )
    files = [file for each in found for file in each.images]
    counts = [len(each.images) for each in found]
    return Store(
        _name(path),
        np.repeat(np.arange(len(found)), counts),
        tuple(folder.name for folder in folders),
        Lazy(Files(path, files)),
        remarks=_remarks(path, folders, found),
        order=_order(path, [folder.name for folder in folders]),
        ordered=True,
    )


def _refuse_splits(path: Path, folders: Sequence[Path], role: str) -> None:
    """Raise where the folders are train, val and test, here or one level below."""
    inside = folders
    if len(folders) == 1 and not _splits(folders):
        inside = [e for e in folders[0].iterdir() if e.is_dir() and not _is_passed_over(e.name)]
        if len({_SPLITS[folder.name.lower()] for folder in _splits(inside)}) < 2:
            return
    splits = _splits(inside)
    kinds = {_SPLITS[folder.name.lower()] for folder in splits}
    if not splits or (len(kinds) < 2 and len(splits) < len(inside)):
        return
    wanted = [folder for folder in splits if _SPLITS[folder.name.lower()] == role] or splits
    raise DataError(
        f"{path}: is the root of a data set, with the splits {_some([f.name for f in splits])} "
        f"inside, not a folder of classes; give {' or '.join(str(folder) for folder in wanted)}"
    )


def _splits(folders: Sequence[Path]) -> list[Path]:
    return sorted(folder for folder in folders if folder.name.lower() in _SPLITS)


def _remarks(path: Path, folders: Sequence[Path], found: Sequence[_Found]) -> tuple[str, ...]:
    """That there is one class only, and what may be meant."""
    if len(folders) > 1:
        return ()
    advice = f"for images without labels, give {folders[0]}"
    if all(file.parent != folders[0] for file in found[0].images):
        advice = f"if the folders in it are the classes, give {folders[0]}"
    return (
        f"{_name(path)}: has a single sub-folder, so that all images are of one class, "
        f"'{folders[0].name}'; {advice}",
    )


def _order(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """That the order of classes is not the one that a plain sort gives."""
    if list(names) == sorted(names):
        return ()
    return (f"{_name(path)}: classes are numbered in their natural order ({_some(names)})",)


def _without_images(path: Path, folders: Sequence[Path], others: Counter[str]) -> str:
    """Why there are no images, and what to do."""
    advice = "give a folder with one sub-folder for each class, or one with images alone"
    if others:
        common = sorted(others, key=lambda suffix: (-others[suffix], suffix))
        suffixes = [suffix or "no suffix" for suffix in common[:3]]
        said = f"has no images, only files with {', '.join(suffixes)}"
        if _OTHER_DATA & set(others):
            advice = "give one of these files itself, unpacked or converted if need be"
        return f"{path}: {said}; {advice}"
    where = f" in its sub-folders {_some([f.name for f in folders])}" if folders else ""
    return f"{path}: has no images{where}, {'they are' if folders else 'it is'} empty; {advice}"


def _is_passed_over(name: str) -> bool:
    """Hidden files, and what operating systems leave behind."""
    return name.startswith(".") or name.lower() in _SYSTEM


def _is_image(file: Path) -> bool:
    if file.suffix.lower() in _SUFFIXES:
        return True
    return not file.suffix and starts_like_an_image(file)


def _name(path: Path) -> str:
    return path.name or path.resolve().name


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _raise(problem: OSError) -> None:
    raise problem
