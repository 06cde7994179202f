"""Arrays: pixels with labels, or inputs that are prepared already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reticule.data.fitting import PREFIX
from reticule.data.pixels import as_pixels, channels_first
from reticule.data.store import Images, Ready, Store
from reticule.errors import DataError

RESIZED = "resized"  # stands in an .npz whose images have been resized and cropped already
_COLOURS = (1, 3, 4)
_NAMED = ("images", "x")


def read_arrays(
    name: str, images: Any, labels: Any, classes: tuple[str, ...] = (), final: bool = False
) -> Store:
    """Images of any layout with pixels in 0..255, and one integer label for each, or None."""
    pixels = channels_first(as_pixels(as_array(images, name, "images"), name), name)
    numbers = None if labels is None else as_array(labels, name, "labels")
    return stored(name, len(pixels), numbers, classes, Ready(name, pixels, final))


def read_named(name: str, given: Mapping[str, Any]) -> Store:
    """What an ``.npz`` holds, by name; only what is used is taken out of ``given``.

    Arrays called ``in.NAME`` are prepared inputs, whatever stands beside them.  Otherwise
    ``images`` (or ``x``, beside ``y``) are images, and so is a lone array of 8-bit pixels; all
    else is prepared.  ``labels`` (or ``y``) and ``classes`` may accompany any of these.
    """
    names = list(given)
    classes = tuple(str(n) for n in np.ravel(given["classes"])) if "classes" in names else ()
    labels = given["labels"] if "labels" in names else None
    prefixed = [key for key in names if key.startswith(PREFIX)]
    own = prefixed or [key for key in names if key not in ("labels", "classes", RESIZED)]
    if not own:
        raise DataError(
            f"{name}: has the arrays {', '.join(names) or '(none)'}; expected images and labels, "
            "x and y, images alone, or one array for each input of the network"
        )
    image = "images" if "images" in own and not prefixed else ""
    if set(own) == {"x", "y"} and labels is None and _are_labels(given["y"], given["x"]):
        labels, own = given["y"], ["x"]
        image = "x" if np.ndim(given["x"]) in (3, 4) else ""
    if not image and len(own) == 1 and not prefixed and looks_like_images(given[own[0]]):
        image = own[0]
    if image:
        used = {image, "labels", "classes", RESIZED} | ({"y"} if labels is not None else set())
        store = read_arrays(name, given[image], labels, classes, RESIZED in names)
    else:
        used = {*own, "labels", "classes"} | ({"y"} if labels is not None else set())
        numbers = None if labels is None else as_array(labels, name, "labels")
        store = _prepared(name, {key: given[key] for key in own}, numbers, classes)
    unused = [key for key in names if key not in used]
    remarks = (f"{name}: not used are the arrays {', '.join(unused)}",) if unused else ()
    return replace(store, remarks=store.remarks + remarks)


def looks_like_images(array: Any) -> bool:
    """8-bit pixels laid out (N, H, W), or with one, three or four channels first or last."""
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or 0 in array.shape[1:]:
        return False
    return array.ndim == 3 or array.shape[1] in _COLOURS or array.shape[3] in _COLOURS


def as_floats(values: NDArray[Any], where: str) -> NDArray[np.float32]:
    """Numbers as float32 of the same shape; DataError where float32 cannot hold them."""
    if values.dtype.kind not in "biuf":
        raise DataError(f"{where}: arrays must hold numbers, not {values.dtype}")
    with np.errstate(over="ignore"):
        floats = np.asarray(values, np.float32)
    largest = float(np.abs(floats).max(initial=0))
    if not np.isfinite(largest):
        raise DataError(f"{where}: has values that are NaN, infinite or too large for float32")
    if values.dtype.kind in "iu" and largest >= 1 << 24 and (floats != values).any():
        raise DataError(f"{where}: has whole numbers that float32 cannot hold (above 2^24)")
    return floats


def as_array(values: Any, name: str, what: str) -> NDArray[Any]:
    """An array of whatever was given, or DataError."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as problem:
        text = " ".join(str(problem).split())[:120] or type(problem).__name__
        raise DataError(f"{name}: {what} do not form an array ({text})") from None


def write_npz(path: str | PathLike[str], members: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name; DataError where that fails."""
    try:
        with Path(path).open("wb") as file:
            np.savez(file, **members)  # type: ignore[arg-type]
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise DataError(f"{path}: cannot be written ({reason})") from None


def _prepared(
    name: str, given: Mapping[str, Any], labels: NDArray[Any] | None, classes: tuple[str, ...]
) -> Store:
    """One array for each input, its first axis the samples."""
    arrays = {}
    for key, values in given.items():
        array = as_array(values, name, f"values of '{key}'")
        if not array.ndim:
            raise DataError(f"{name}: '{key}' is a single number; its first axis must be the batch")
        arrays[key] = as_floats(array, f"{name}: '{key}'")
    counts = {key: len(array) for key, array in arrays.items()}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{count} of {key}" for key, count in counts.items())
        raise DataError(f"{name}: the arrays have different numbers of samples ({shown})")
    return stored(name, next(iter(counts.values())), labels, classes, arrays=arrays)


def _are_labels(y: Any, x: Any) -> bool:
    """Whether ``y`` is meant as labels of the images ``x``, and not as a second input."""
    y, x = np.asarray(y), np.asarray(x)
    whole = y.dtype.kind in "iu" and (y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1))
    return whole or looks_like_images(x)


def stored(
    name: str,
    count: int,
    labels: NDArray[Any] | None,
    classes: tuple[str, ...] = (),
    images: Images | None = None,
    arrays: Mapping[str, NDArray[np.float32]] | None = None,
) -> Store:
    """A store, after the checks that all kinds of source have in common."""
    what = "images" if images is not None else "samples"
    if not count:
        raise DataError(f"{name}: has no {what}")
    if labels is None:
        return Store(name, None, classes, images, arrays or {})
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"{name}: labels have shape {labels.shape}, expected one for each image")
    if len(labels) != count:
        raise DataError(f"{name}: has {count} {what}, but {len(labels)} labels")
    if labels.dtype.kind not in "iu":
        raise DataError(
            f"{name}: labels are {labels.dtype}, expected integers from 0 (call targets that are "
            "no classes otherwise)"
        )
    if labels.max() > 2**31 or labels.min() < 0:
        odd = int(np.flatnonzero((labels < 0) | (labels > 2**31))[0])
        raise DataError(f"{name}: label {labels[odd]} of image {odd} is negative or too large")
    remarks: tuple[str, ...] = ()
    if classes and labels.max() >= len(classes):
        said = f"its {len(classes)} names of classes are not used, as there is a label"
        remarks, classes = (f"{name}: {said} {labels.max()}",), ()
    return Store(name, labels.astype(np.int64), classes, images, arrays or {}, remarks)
