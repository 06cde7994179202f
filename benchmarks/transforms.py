"""What transforms are worth for coding weights: the same chain with and without them.

    python benchmarks/transforms.py ../shared [--network NAME ...] [--transform NAME ...]

The argument is a folder with models/NETWORK.onnx and data/mnist, data/cifar10 (parquet).  Every
row is one network through ``fold-batch-norm``, ``transform-coding`` and ``half-precision``; its
file is decoded again for all figures.  Nothing is retrained.

``--part`` error or accuracy: one of the two tables.

``error``: without images, at given qualities; relative squared error of the weights over bytes.
``accuracy``: with 256 unlabelled images, at given sizes of the file; accuracy on images that were
held out of the training images, and on test images.

Rows go to benchmarks/results/transforms.csv as they come; those that are there are skipped
(``--again`` measures them once more).  At the end the tables of the documentation are printed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
from coding.table import Table, own_version

import reticule
from reticule.codec import About, dumps, loads
from reticule.forms import Packed
from reticule.methods import Context, FoldBatchNorm, HalfPrecision, TransformCoding
from reticule.methods.transform.bases import Transform
from reticule.tuning.problem import Problem, accuracy, constant_tensors

MNIST = {"scale": 256.0}
CIFAR = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
DATA = {
    "lenet300100": ("mnist", MNIST),
    "lenet5": ("mnist", MNIST),
    "resnet20": ("cifar10", CIFAR),
}
TRANSFORMS: tuple[Transform, ...] = ("identity", "dct", "lapped", "wavelet53", "wavelet97")
assert set(TRANSFORMS) == set(get_args(Transform))
QUALITIES = (15.0, 20.0)  # without images
RATIOS = {  # sizes: the original's bytes over these, with images
    "lenet300100": (48, 32),
    "lenet5": (64, 40),
    "resnet20": (14, 10),
}
START = 11.0  # decibels, where the search for the first size begins
CALIBRATION, HELD_OUT = 256, 5000
COLUMNS = ("quality", "bytes_file", "weight_error", "transformed", "held_out", "test")


class Subject:
    """A network and its images."""

    def __init__(self, name: str, shared: Path) -> None:
        self.name, self.shared = name, shared
        self.network = reticule.from_onnx(shared / "models" / f"{name}.onnx")
        self.folded = FoldBatchNorm().apply(Packed.of(self.network), Context(self.network)).packed

    def images(self, part: str) -> reticule.Data:
        dataset, preprocessing = DATA[self.name]
        return reticule.Data(self.shared / "data" / dataset / f"{part}.parquet", **preprocessing)

    @cached_property
    def test(self) -> reticule.Data:
        return self.images("test")

    @cached_property
    def problem(self) -> Problem:
        train = self.images("train")
        order = np.random.default_rng(0).permutation(len(train))
        held_out, rest = train.subset(order[:HELD_OUT]), train.subset(order[HELD_OUT:])
        return Problem.of(self.network, rest, held_out)

    def coded(self, stage: TransformCoding, most: int | None) -> tuple[dict[str, object], Packed]:
        """The figures of a stage, and the network that its file decodes to."""

        def finished(packed: Packed) -> bytes:
            done = HalfPrecision().apply(packed, Context(self.network)).packed
            return dumps(done, About(), "small")

        context = Context(
            self.network,
            problem=self.problem if most else None,
            max_bytes=most,
            file_size=lambda packed: len(finished(packed)),
        )
        made = stage.apply(self.folded, context)
        data = finished(made.packed)
        decoded = loads(data).packed
        figures = {
            "quality": made.notes["quality"],
            "bytes_file": len(data),
            "weight_error": self.weight_error(decoded),
            "transformed": len(made.notes["transforms"]),  # type: ignore[arg-type]
        }
        return figures, decoded

    def weight_error(self, decoded: Packed) -> float:
        """Squared error of each layer over its energy, in the mean over all weights."""
        names = [name for _, name in self.folded.graph.weights()]
        total = 0.0
        for name in names:
            before = self.folded.forms[name].dense().astype(np.float64)
            error = np.square(before - decoded.forms[name].dense()).sum()
            total += before.size * error / np.square(before).sum()
        return total / sum(self.folded.forms[name].size for name in names)

    def accuracies(self, decoded: Packed) -> dict[str, object]:
        tensors = constant_tensors(decoded.network())
        found = {"held_out": self.problem.held_out, "test": self.test}
        return {name: accuracy(decoded.graph, tensors, data) for name, data in found.items()}


def variants() -> Iterable[tuple[Transform, str]]:
    for transform in TRANSFORMS:
        yield transform, "cheaper"
        if transform != "identity":
            yield transform, "everywhere"


def errors(subject: Subject, table: Table, chosen: Sequence[str], again: bool) -> None:
    for quality in QUALITIES:
        for transform, where in variants():
            if transform not in chosen:
                continue
            key = (subject.name, "error", transform, where, f"{quality:g} dB")
            if key in table.rows and not again:
                continue
            stage = TransformCoding(transform=transform, where=where, quality=quality)
            figures, _ = subject.coded(stage, None)
            table.put(*key, version=own_version(), **figures, held_out="", test="")


def accuracies(subject: Subject, table: Table, chosen: Sequence[str], again: bool) -> None:
    start = START
    for ratio in RATIOS[subject.name]:
        for transform in chosen:
            key = (subject.name, "accuracy", transform, "cheaper", f"1/{ratio}")
            if key in table.rows and not again:
                start = float(table.rows[key]["quality"])
                continue
            stage = TransformCoding(transform=transform, quality=start, images=CALIBRATION)
            most = 4 * subject.network.parameters // ratio
            figures, decoded = subject.coded(stage, most)
            start = float(figures["quality"])  # type: ignore[arg-type]
            found = subject.accuracies(decoded)
            table.put(*key, version=own_version(), **figures, **found)


def at_equal_error(table: Table, network: str, transform: str, where: str) -> str:
    """Percent of bytes more than without a transform, at the errors that both reach: the range."""

    def curve(transform: str, where: str) -> list[tuple[float, float]]:
        rows = [
            table.rows.get((network, "error", transform, where, f"{q:g} dB")) for q in QUALITIES
        ]
        return sorted(
            (math.log(float(row["weight_error"])), math.log(float(row["bytes_file"])))
            for row in rows
            if row
        )

    def at(points: list[tuple[float, float]], error: float) -> float | None:
        for (low, more), (high, less) in pairwise(points):
            if low <= error <= high:
                return more + (less - more) * (error - low) / (high - low)
        return None

    base, other = curve("identity", "cheaper"), curve(transform, where)
    found = []
    for error in sorted({error for error, _ in [*base, *other]}):
        sizes = at(base, error), at(other, error)
        if sizes[0] is not None and sizes[1] is not None:
            found.append(100 * (math.exp(sizes[1] - sizes[0]) - 1))
    return f"{min(found):+.1f} to {max(found):+.1f} %" if found else ""


def show(table: Table) -> None:
    """The tables of the documentation."""
    print("\n| transform | where | " + " | ".join(DATA) + " |\n|---|---|" + "---|" * len(DATA))
    for transform, where in variants():
        if transform != "identity":
            cells = [at_equal_error(table, network, transform, where) for network in DATA]
            print(f"| {transform} | {where} | " + " | ".join(cells) + " |")
    print("\n| network | file | " + " | ".join(TRANSFORMS) + " |\n|---|---|" + "---|" * 5)
    for network in DATA:
        for ratio in RATIOS[network]:
            rows = [
                table.rows.get((network, "accuracy", transform, "cheaper", f"1/{ratio}"))
                for transform in TRANSFORMS
            ]
            cells = [
                f"{float(row['held_out']):.2f} / {float(row['test']):.2f}" if row else ""
                for row in rows
            ]
            print(f"| {network} | 1/{ratio} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="folder with models/ and data/")
    parser.add_argument("--network", choices=DATA, action="append", help="all, if left out")
    parser.add_argument("--transform", choices=TRANSFORMS, action="append", help="all, likewise")
    parser.add_argument("--part", choices=("error", "accuracy"), help="both, if left out")
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    given = parser.parse_args()
    key = ("network", "part", "transform", "where", "target")
    table = Table("transforms", key, COLUMNS)
    for network in given.network or DATA:
        subject = Subject(network, given.shared)
        if given.part != "accuracy":
            errors(subject, table, given.transform or TRANSFORMS, given.again)
        if given.part != "error":
            accuracies(subject, table, given.transform or TRANSFORMS, given.again)
    show(table)


if __name__ == "__main__":
    main()
