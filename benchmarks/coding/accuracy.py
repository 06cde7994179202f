"""Size at equal accuracy: whole files, ResNet-20 on CIFAR-10, nothing trained again.

NNCodec codes the checkpoint as it is (``unfolded``), with its own folding of the batch
normalisation into scales and shifts (``bnf``), and the network folded beforehand (``folded``);
tensors that belong together in one block, as its syntax allows.  Its stream is decoded from the
bytes alone, and the decoded tensors are judged in ONNX Runtime.  Our files are written by the
recipe ``post-training`` with unlabelled images of the training set, and judged by the engine in a
fresh process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from rivals.nnc import NNCodec

from coding import ours
from coding.networks import Judge, Subject, Tensors, fold
from coding.table import Table, own_version

LEVELS = tuple(round(89 + 0.2 * k, 1) for k in range(12))  # 89 to 91.2 %
NETWORK = "resnet20"


@dataclass(frozen=True)
class Setting:
    """One way to call NNCodec; ``weight`` is its lambda_scale."""

    network: str
    dependent: bool
    weight: float
    nonweight_qp: int
    qp: int

    @property
    def name(self) -> str:
        quantiser = "DQ" if self.dependent else "URQ"
        return f"{self.network} {quantiser} lambda {self.weight:g} nonweight {self.nonweight_qp}"


def grid() -> Iterator[Setting]:
    """Combinations around the accuracies that are asked for.

    A coarser grid showed which of them an accuracy of 88 to 91.5 % needs.  The checkpoint as it is
    has the weights of ``bnf`` and more beside them, the network folded beforehand needs 15 % more
    bytes: a few points show that.
    """
    for weight, qp in product((0.0, 0.25, 0.5, 0.75, 1.0, 1.5), range(-17, -25, -1)):
        yield Setting("bnf", True, weight, -28, qp)
    for weight, qp in product((0.0, 0.5, 1.0), range(-14, -21, -1)):
        yield Setting("bnf", False, weight, -28, qp)
    for nonweight, weight, qp in product((-24, -22), (0.0, 0.5), range(-19, -24, -1)):
        yield Setting("bnf", True, weight, nonweight, qp)
    for nonweight, qp in product((-75, -28), range(-18, -25, -2)):
        yield Setting("unfolded", True, 0.5, nonweight, qp)
    for weight, qp in product((0.0, 0.5, 1.0), range(-24, -31, -2)):
        yield Setting("folded", True, weight, -28, qp)


def points_table() -> Table:
    key = ("network", "coder", "settings", "point")
    return Table("codec_accuracy_points", key, ("bytes_file", "accuracy"))


def run(subject: Subject, data: Path, rival: NNCodec | None) -> None:
    points = points_table()
    if rival is not None:
        rival_points(subject, Judge(subject.network, data / "cifar10/test.parquet"), rival, points)
    our_points(subject, data, points)
    at_levels(points, subject.name)


def rival_points(subject: Subject, judge: Judge, rival: NNCodec, points: Table) -> None:
    for setting in grid():
        key = (subject.name, "nncodec", setting.name, setting.qp)
        if not points.has(*key, version=rival.version):
            size, folded = coded(subject, setting, rival)
            accuracy = judge.accuracy(folded)
            points.put(*key, version=rival.version, bytes_file=size, accuracy=accuracy)


def coded(subject: Subject, setting: Setting, rival: NNCodec) -> tuple[int, Tensors]:
    """Bytes of the stream, and what it decodes to as tensors of the folded network."""
    assert subject.unfolded is not None
    folded_before = setting.network == "folded"
    tensors = fold(subject.unfolded) if folded_before else subject.unfolded
    done = rival.compress(
        tensors,
        qp=setting.qp,
        use_dq=setting.dependent,
        lambda_scale=setting.weight,
        nonweight_qp=setting.nonweight_qp,
        row_skipping=True,
        bnf=setting.network == "bnf",
        block_id_and_param_type=blocks(tensors, _folded_kind if folded_before else _kind),
    )
    if folded_before:
        return done.size, done.tensors
    if setting.network == "unfolded":
        return done.size, fold(done.tensors)
    # NNCodec calls the shift that batch normalisation leaves behind NAME.weight.bias.
    return done.size, {
        n.replace(".weight.bias", ".weight_bias"): t for n, t in done.tensors.items()
    }


def blocks(
    names: Iterable[str], kind: Callable[[str], tuple[str, str]]
) -> dict[str, dict[str, str]]:
    """What NNCodec is told about which tensors belong together."""
    kinds = {name: kind(name) for name in names}
    return {
        "parameter_type": {name: kind for name, (kind, _) in kinds.items()},
        "block_identifier": {name: block for name, (_, block) in kinds.items()},
    }


def _kind(name: str) -> tuple[str, str]:
    """(kind of tensor, its block) in the checkpoint."""
    owner, _, part = name.rpartition(".")
    if "bn" not in owner:
        return part, owner
    kinds = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "var"}
    return f"bn.{kinds[part]}", owner.replace("bn", "conv")


def _folded_kind(name: str) -> tuple[str, str]:
    owner = name.partition(".weight")[0].removesuffix(".bias")
    return "bias" if "bias" in name else "weight", owner


def our_points(subject: Subject, data: Path, points: Table) -> None:
    version = own_version()
    points.forget(version, network=subject.name, coder="reticule")
    for settings, point, compressed in ours.accuracy_points(subject, data):
        key = (subject.name, "reticule", settings, point)
        if not points.has(*key, version=version):
            size, accuracy = compressed()
            points.put(*key, version=version, bytes_file=size, accuracy=accuracy)


def at_levels(points: Table, network: str) -> None:
    """The table of what each coder needs for an accuracy, interpolated between points.

    Of NNCodec the best points count, as if one knew the test images.  Of ours, which was run at
    one setting and several qualities, a point counts for no more than any larger file reaches.
    """
    results = Table(
        "codec_accuracy",
        ("network", "accuracy", "coder"),
        ("bytes_file", "against_nncodec_percent"),
    )
    results.rows.clear()  # all of them follow from the points
    rows = [row for row in points.rows.values() if row["network"] == network]
    for level in LEVELS:
        base = None
        for coder in ("nncodec", "reticule"):
            own = [row for row in rows if row["coder"] == coder]
            size = bytes_at((envelope if coder == "nncodec" else surely)(own), level)
            if size is None:
                continue
            base = base or size
            results.put(
                network,
                f"{level:g}",
                coder,
                version=own[-1]["version"],
                bytes_file=round(size),
                against_nncodec_percent=100 * (size / base - 1) if coder != "nncodec" else "",
            )


def envelope(rows: Iterable[Mapping[str, str]]) -> list[tuple[int, float]]:
    """(bytes, accuracy) of the points that no smaller file beats, by size."""
    found: list[tuple[int, float]] = []
    for size, accuracy in sorted((int(row["bytes_file"]), float(row["accuracy"])) for row in rows):
        if not found or accuracy > found[-1][1]:
            found.append((size, accuracy))
    return found


def surely(rows: Iterable[Mapping[str, str]]) -> list[tuple[int, float]]:
    """(bytes, accuracy) of all points by size, with the least accuracy from there upwards."""
    found: list[tuple[int, float]] = []
    points = sorted((int(row["bytes_file"]), float(row["accuracy"])) for row in rows)
    for size, accuracy in reversed(points):
        found.append((size, min([accuracy, *(least for _, least in found[-1:])])))
    return found[::-1]


def bytes_at(curve: list[tuple[int, float]], level: float) -> float | None:
    """Bytes for an accuracy, linear between neighbours; None where the curve does not reach."""
    for (size, accuracy), (more, better) in pairwise(curve):
        if accuracy <= level <= better:
            return float(np.interp(level, (accuracy, better), (size, more)))
    return None
