"""Time and memory of compressing networks of the size that people have.

    python benchmarks/compressing.py [squeezenet | resnet50-alone | resnet50-images]
                                     [--cache FOLDER] [--anew]

``squeezenet`` has 1.2 million weights, takes 227 x 227 pixels, and is packed by ``post-training``
with 256 images and ``--max-drop 1``; ``resnet50`` has 25 million and is packed without images, or
with 64 of 224 x 224.  Weights are by lot, as spread as those of trained networks are, and labels
are the network's own answers.  Each cell is one command in a fresh process: its wall-clock
seconds, and the most memory that it or a process of its own had.  Rows go to
benchmarks/results/compressing.csv; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from coding.table import Table, own_version
from generated import sets
from generated.cache import FOLDER, answers, original
from generated.command import run
from generated.large import centred, resnet50, spread_like_trained, squeezenet
from generated.shapes import Pixels
from torch import nn

import reticule

KEY = ("cell", "cores")
COLUMNS = (
    "outcome", "weights", "images", "seconds", "peak_mib", "ratio", "ratio_file", "drop_points",
    "error_percent",
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """A network, how many images of which side it is packed with, and what is asked for."""

    make: Callable[[], nn.Module]
    side: int
    images: int
    options: tuple[str, ...] = ()


WORK = {
    "squeezenet": Work(squeezenet, 227, 256, ("--max-drop", "1")),
    "resnet50-alone": Work(resnet50, 224, 0),
    "resnet50-images": Work(resnet50, 224, 64),
}


def prepare(name: str, folder: Path) -> tuple[Path, Path | None]:
    """The network, and its images with labels, on disk; made once."""
    work, path = WORK[name], folder / f"{name.split('-')[0]}-large.onnx"
    data = folder / f"{name}.npz" if work.images else None
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        module = spread_like_trained(work.make())
        some = torch.from_numpy(_drawn(work, 16, seed=1)).float() / 255
        reticule.to_onnx(reticule.from_torch(centred(module, some), some[:2]), path)
    if data is not None and not data.exists():
        images = _drawn(work, work.images, seed=2)
        np.savez(data, images=images, labels=answers(original(path), images)[0].argmax(1))
    return path, data


def _drawn(work: Work, count: int, seed: int) -> Pixels:
    kind = sets.Kind((0.45, 0.8), 0.08, height=work.side, width=work.side)
    return sets.classified(count, seed, kind).images


def measure(name: str, folder: Path) -> dict[str, object]:
    """The columns of a row."""
    path, data = prepare(name, folder)
    given = ("--train", str(data)) if data else ()
    ran = run(
        "compress", str(path), "-o", str(folder / f"{name}.ret"), "--recipe", "post-training",
        *given, *WORK[name].options, "--seed", "0",
    )  # fmt: skip
    names = ("ratio", "ratio_file", "drop_points", "error_percent")
    return {
        "outcome": ran.outcome if ran.figures else f"{ran.outcome}: {ran.line}"[:160],
        "weights": reticule.from_onnx(path).parameters,
        "images": WORK[name].images,
        "seconds": ran.seconds,
        "peak_mib": ran.peak_mib,
        **{key: ran.figures.get(key, "") for key in names},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all of {', '.join(WORK)}")
    parser.add_argument("--cache", type=Path, default=FOLDER, metavar="FOLDER")
    parser.add_argument("--anew", action="store_true", help="also what was measured before")
    given = parser.parse_args()
    table = Table("compressing", KEY, COLUMNS)
    cores = len(os.sched_getaffinity(0))
    for name in given.names or WORK:
        if given.anew or (name, str(cores)) not in table.rows:
            table.put(name, cores, version=own_version(), **measure(name, given.cache))


if __name__ == "__main__":
    main()
