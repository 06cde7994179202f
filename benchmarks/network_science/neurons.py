"""Accuracy against neurons kept, for each way of choosing them; no tuning, 512 images."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

import reticule
from reticule.forms import Packed
from reticule.methods import Context, FoldBatchNorm, SelectUnits
from reticule.tuning.problem import Problem, accuracy, constant_tensors

CIFAR = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
MNIST = {"scale": 256.0}
DATA = {
    "lenet300100": ("mnist", MNIST),
    "lenet5": ("mnist", MNIST),
    "resnet20": ("cifar10", CIFAR),
}
KEPT = {
    "60 of the first 300": {"*ip1*": 60},
    "60 of 300, 30 of 100": {"*ip1*": 60, "*ip2*": 30},
}
WAYS = (
    ("asymmetric", "outputs"), ("sequential", "outputs"), ("layerwise", "outputs"),
    ("divnet", "fuse"), ("divnet-sample", "fuse"), ("facility-location", "represent"),
    ("facility-location", "outputs"), ("coreset", "none"), ("coreset", "outputs"),
    ("random", "outputs"), ("random", "none"), ("magnitude", "outputs"), ("magnitude", "none"),
)  # fmt: skip


class Subject:
    """A network with its images."""

    def __init__(self, name: str, shared: Path) -> None:
        self.network = reticule.from_onnx(shared / "models" / f"{name}.onnx")
        dataset, preprocessing = DATA[name]
        self.folder, self.preprocessing = shared / "data" / dataset, preprocessing
        self.start = FoldBatchNorm().apply(Packed.of(self.network), Context(self.network)).packed

    def images(self, part: str) -> reticule.Data:
        return reticule.Data(self.folder / f"{part}.parquet", **self.preprocessing)

    @cached_property
    def problem(self) -> Problem:
        train = self.images("train")
        order = np.random.default_rng(0).permutation(len(train))
        held_out, rest = train.subset(order[:5000]), train.subset(order[5000:])
        return Problem.of(self.network, rest, held_out)

    @cached_property
    def test(self) -> reticule.Data:
        return self.images("test")

    @cached_property
    def before(self) -> float:
        return self.accuracy(self.start)

    def accuracy(self, packed: Packed) -> float:
        return accuracy(packed.graph, constant_tensors(packed.network()), self.test)

    def reduced(self, stage: SelectUnits, seed: int) -> dict[str, object]:
        start = time.monotonic()
        outcome = stage.apply(self.start, Context(self.network, problem=self.problem, seed=seed))
        seconds = time.monotonic() - start
        after = self.accuracy(outcome.packed)
        macs = [sum(p.graph.macs().values()) for p in (self.start, outcome.packed)]
        return {
            "before": self.before,
            "after": after,
            "lost": self.before - after,
            "macs": macs[1] / macs[0],
            "seconds": seconds,
        }


def lenet(shared: Path, seeds: int) -> Iterator[tuple[tuple[str, str, str, str, int], dict]]:
    subject = Subject("lenet300100", shared)
    for what, keep in KEPT.items():
        for selection, refit in WAYS:
            for seed in range(seeds):
                stage = SelectUnits(selection=selection, refit=refit, keep=keep)
                key = ("lenet300100", what, selection, refit, seed)
                yield key, subject.reduced(stage, seed)


def resnet(shared: Path) -> Iterator[tuple[tuple[str, str, str, str, int], dict]]:
    subject = Subject("resnet20", shared)
    for selection in ("asymmetric", "layerwise", "magnitude"):
        stage = SelectUnits(selection=selection, macs=0.75)
        key = ("resnet20", "75 % of the multiplications", selection, "outputs", 0)
        yield key, subject.reduced(stage, 0)
