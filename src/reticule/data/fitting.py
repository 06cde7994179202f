"""Whether data is what a network takes; if not, the true reason.

Shapes of a network's inputs are given without the batch axis, those of arrays with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from reticule.data.geometry import ADVICE, size_text
from reticule.errors import DataError

PREFIX = "in."  # before the name of an input, in an .npz
_COLOURS = (1, 3, 4)

Arrays = Mapping[str, NDArray[np.float32]]
Inputs = Mapping[str, Sequence[int]]


def image_shape(inputs: Inputs, name: str) -> tuple[int, int, int]:
    """(C, H, W) of the one input of a network that takes images, or DataError."""
    prepared = f"give an .npz with an array for each input ({PREFIX}NAME)"
    if len(inputs) != 1:
        raise DataError(
            f"{name}: holds images, but the network has {len(inputs)} inputs "
            f"({', '.join(inputs)}); {prepared}"
        )
    shape = tuple(next(iter(inputs.values())))
    if len(shape) != 3:
        raise DataError(
            f"{name}: holds images, but the network takes inputs of shape {shape}; "
            f"{prepared}, or the network an input (C, H, W) and a Flatten"
        )
    if shape[2] in _COLOURS and shape[0] not in _COLOURS:
        raise DataError(
            f"{name}: holds images, channels first, but the network takes {shape}, channels last; "
            f"export it with channels first, or {prepared}"
        )
    return shape


def check_image(
    have: tuple[int, int, int], want: tuple[int, int, int], where: str, changed: bool
) -> None:
    """Raise DataError where an image of one shape (C, H, W) is not what the network takes.

    ``changed`` says whether it has been resized or cropped.
    """
    if have[1:] != want[1:]:
        if (have[1], have[2], have[0]) == want or (have[2], have[0], have[1]) == want:
            raise DataError(
                f"{where} has the shape {have}, the network takes {want}: channels, height and "
                "width are mixed up; give (N, C, H, W) or (N, H, W, C)"
            )
        resized = " when resized and cropped" if changed else ""
        raise DataError(
            f"{where} is {size_text(have)}{resized}, the network takes {size_text(want)} "
            f"(height x width): {ADVICE}"
        )
    if have[0] != want[0] and {have[0], want[0]} != {1, 3}:
        raise DataError(
            f"{where} has {have[0]} channels, but {want[0]} are needed: "
            "convert the images beforehand"
        )


def matched(arrays: Arrays, inputs: Inputs, name: str) -> tuple[Arrays, tuple[str, ...]]:
    """The arrays in the order of the network's inputs and under their names, and remarks.

    A single array serves a network of one input, whatever it is called, and arrays without names
    go by their order.  DataError for a missing input, or shapes that do not fit.
    """
    given = {key.removeprefix(PREFIX): array for key, array in arrays.items()}
    if len(given) == len(inputs) and (len(inputs) == 1 or not any(map(_is_named, given))):
        given = dict(zip(inputs, given.values(), strict=True))
    elif not any(map(_is_named, given)):
        raise DataError(
            f"{name}: has {len(given)} arrays for each sample, the network {len(inputs)} "
            f"input{'s'[: len(inputs) != 1]} ({', '.join(inputs)}); give one array for each"
        )
    if missing := [key for key in inputs if key not in given]:
        raise DataError(
            f"{name}: has no array for the network's input '{missing[0]}', only "
            f"{', '.join(given)}; its inputs are {', '.join(inputs)}"
        )
    for key, shape in inputs.items():
        _check_shape(given[key].shape, tuple(shape), key, name)
    unused = [key for key in given if key not in inputs]
    remarks = (f"{name}: not used are the arrays {', '.join(unused)}",) if unused else ()
    return {key: given[key] for key in inputs}, remarks


def order_name(position: int) -> str:
    """The name of an array that has none, only a place among others."""
    return f"#{position}"


def _is_named(key: str) -> bool:
    return not key.startswith("#")


def _check_shape(have: tuple[int, ...], want: tuple[int, ...], key: str, name: str) -> None:
    if have[1:] == want:
        return
    raise DataError(
        f"{name}: input '{key}' has shape {_with_batch(have[1:])}, the network takes "
        f"{_with_batch(want)}: {_advice(have, want)}"
    )


def _advice(have: tuple[int, ...], want: tuple[int, ...]) -> str:
    """What is wrong with a shape."""
    rest = have[1:]
    if have == want:
        return "the batch axis is missing, add it in front (x[None])"
    if len(rest) != len(want):
        return f"it needs {len(want) + 1} axes, the batch first"
    if len(want) > 1 and (rest[-1], *rest[:-1]) == want:
        return "its channels come last, move them behind the batch (np.moveaxis(x, -1, 1))"
    if len(want) > 1 and rest[1:] == want[1:]:
        return f"it has {rest[0]} channels instead of {want[0]}"
    if len(want) == 3 and rest[0] == want[0]:
        return "height or width is another, resize or crop it"
    if sorted(rest) == sorted(want):
        return "its axes are in another order, transpose it"
    return "give what the network was trained on"


def _with_batch(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['N', *map(str, shape)])})"
