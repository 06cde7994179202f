"""Names of classes: their order, and how they decide the numbers.

>>> sorted(["10", "9", "b2", "b10"], key=natural)
['9', '10', 'b2', 'b10']
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reticule.errors import DataError

_SHOWN = 5  # names in a message
_LONGEST = 1024  # as the format of files has it
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """A key that sorts runs of digits by their value."""
    parts = re.findall("[0-9]+|[^0-9]+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], name


def check_names(classes: Sequence[str], where: str) -> None:
    """Raise DataError for names that a file could not keep, before any work is done."""
    for name in classes:
        if len(name) > _LONGEST or UNPRINTABLE.search(name):
            raise DataError(
                f"{where}: the name of class {printable(name[:40])!r} has control characters, or "
                f"more than {_LONGEST} characters; rename it"
            )


def printable(text: str) -> str:
    """Text that does a terminal no harm."""
    return UNPRINTABLE.sub("?", text)


def renumbered(
    labels: NDArray[np.int64], classes: Sequence[str], names: Sequence[str], where: str
) -> NDArray[np.int64]:
    """Labels int64 (n,) that number ``classes`` as labels that number ``names``.

    DataError for one of ``classes`` that has images and is not in ``names``.
    """
    present = np.flatnonzero(np.bincount(labels, minlength=len(classes))).tolist()
    if tuple(classes) != tuple(names):
        for many in (classes, names):
            if twice := [name for name in many if list(many).count(name) > 1]:
                raise DataError(
                    f"{where}: two classes are called '{twice[0]}', so that names do not decide "
                    "which is meant; rename one"
                )
        number = {name: index for index, name in enumerate(names)}
        if unknown := [classes[i] for i in present if classes[i] not in number]:
            raise DataError(f"{where}: {_unknown(unknown, classes, names)}")
        table = np.array([number.get(name, -1) for name in classes], np.int64)
        labels = table[labels]
    return labels


def numbers_meant(classes: Sequence[str], count: int, where: str) -> tuple[str, ...]:
    """The names of a network's classes, of which there are ``count``, by folders of the data.

    As many folders as classes are those classes, in order: nothing is known, ().  Fewer that are
    called by numbers below ``count`` are the classes with these numbers.  DataError for others.

    >>> numbers_meant(("1", "3"), 4, "test"), numbers_meant(("cat", "dog"), 2, "test")
    (('0', '1', '2', '3'), ())
    """
    if len(classes) >= count:
        return ()
    numbers = {str(number): None for number in range(count)}
    if all(name in numbers for name in classes):
        return tuple(numbers)
    raise DataError(
        f"{where}: has {len(classes)} classes ({_listed(classes)}), the network has {count}, and "
        "nothing says which ones these are; give a folder for each class, be it empty, or call "
        f"them by their numbers, 0 to {count - 1}; where labels are not needed, put all images "
        "into one folder; --anyway takes the folders for the first classes"
    )


def missing(labels: NDArray[np.int64], classes: Sequence[str], where: str) -> tuple[str, ...]:
    """A remark about classes without images, if there are any."""
    counts = np.bincount(labels, minlength=len(classes))
    names = [name for name, count in zip(classes, counts, strict=False) if not count]
    said = f"{where}: no images of {_listed(names)}, {len(names)} of {len(classes)} classes"
    return (said,) if names else ()


def _unknown(unknown: Sequence[str], classes: Sequence[str], names: Sequence[str]) -> str:
    """What is wrong with classes that the network does not know, and the likely cause."""
    said = f"the network has no class {_listed(unknown)}, only {_listed(names)}; "
    folded = {name.casefold().strip(): name for name in names}
    near = folded.get(unknown[0].casefold().strip())
    close = [near] if near else difflib.get_close_matches(unknown[0], names, 1)
    if close:
        return f"{said}is '{close[0]}' meant? Rename '{unknown[0]}'"
    if len(unknown) == len(set(classes)):
        return f"{said}give the data that it was trained for, or call the classes as it does"
    return f"{said}rename or take out '{unknown[0]}'"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name:.40}'" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
