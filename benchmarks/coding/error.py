"""Size at equal weight error: rate-distortion curves of kernels and matrices.

The error is the mean squared error over all weights of the network, the size that of the coded
payloads: nobody's names, shapes and headers count.  NNCodec has one quantisation parameter for
all tensors; its best quantiser (uniform or dependent) and weight of the rate (lambda_scale) is
taken at each point.  Sizes between two points of a curve are interpolated over the logarithm of
the error.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise, product

import numpy as np
from rivals.nnc import NNCodec

from coding.networks import Subject, mean_squared_error
from coding.our_error import error_points
from coding.table import Table, own_version

LAMBDAS = (0, 0.25, 0.5, 0.75, 1, 1.5, 2)
TARGETS = (1e-3, 3e-4, 1e-4)
RELATIVE_TARGETS = (0.1, 0.03, 0.01)  # of the mean squared weight, for the LeNets
QUANTISERS = {"DQ": True, "URQ": False}

Curve = list[tuple[float, float]]  # (mean squared error, bytes)


def run(subjects: list[Subject], rival: NNCodec | None) -> None:
    points = Table(
        "codec_error_points",
        ("network", "coder", "settings", "point"),
        ("mse", "bytes_payload", "bits_per_weight"),
    )
    for subject in subjects:
        if rival is not None:
            rival_points(subject, rival, points)
        our_points(subject, points)
    interpolated(subjects, points)


def targets_of(subject: Subject) -> tuple[float, ...]:
    if subject.name.startswith("resnet"):
        return TARGETS
    zeros = {name: np.zeros_like(w) for name, w in subject.weights.items()}
    power = mean_squared_error(subject.weights, zeros)
    return tuple(float(f"{part * power:.2g}") for part in RELATIVE_TARGETS)


def rival_points(subject: Subject, rival: NNCodec, points: Table) -> None:
    """The whole grid; a quantisation parameter of 4 more doubles the step."""
    weights, targets = subject.weights, targets_of(subject)
    first, last = (4 * math.log2(math.sqrt(12 * t)) for t in (max(targets), min(targets)))
    grid = range(math.ceil(first) + 2, math.floor(last) - 7, -1)
    for (name, dependent), weight, qp in product(QUANTISERS.items(), LAMBDAS, grid):
        key = (subject.name, "nncodec", f"{name} lambda {weight:g}", qp)
        if points.has(*key, version=rival.version):
            continue
        coded = rival.compress(
            weights, qp=qp, use_dq=dependent, lambda_scale=weight, row_skipping=True
        )
        put(points, key, subject, coded.payload, coded.tensors, rival.version)


def our_points(subject: Subject, points: Table) -> None:
    version = own_version()
    points.forget(version, network=subject.name, coder="reticule")
    for settings, point, coded in error_points(subject.weights, targets_of(subject)):
        key = (subject.name, "reticule", settings, point)
        if not points.has(*key, version=version):
            size, tensors = coded()
            put(points, key, subject, size, tensors, version)


def put(
    points: Table,
    key: tuple[object, ...],
    subject: Subject,
    size: int,
    tensors: Mapping[str, np.ndarray],
    version: str,
) -> None:
    weights = subject.weights
    points.put(
        *key,
        version=version,
        mse=mean_squared_error(weights, tensors),
        bytes_payload=size,
        bits_per_weight=8 * size / sum(w.size for w in weights.values()),
    )


def interpolated(subjects: Iterable[Subject], points: Table) -> None:
    """The table of what each coder needs at the errors that are aimed at."""
    results = Table(
        "codec_error",
        ("network", "mse", "coder"),
        ("settings", "bytes_payload", "bits_per_weight", "against_nncodec_percent"),
    )
    for subject in subjects:
        results.forget("", network=subject.name)  # all of them follow from the points
        count = sum(w.size for w in subject.weights.values())
        for target in targets_of(subject):
            base = None
            for coder in ("nncodec", "reticule"):
                found = best(curves(points, subject.name, coder), target)
                if found is None:
                    continue
                size, settings, version = found
                base = base or size
                results.put(
                    subject.name,
                    f"{target:g}",
                    coder,
                    version=version,
                    settings=settings,
                    bytes_payload=round(size),
                    bits_per_weight=8 * size / count,
                    against_nncodec_percent=100 * (size / base - 1) if coder != "nncodec" else "",
                )


def curves(points: Table, network: str, coder: str) -> dict[tuple[str, str], Curve]:
    """Points by (settings, version)."""
    found = defaultdict(list)
    for row in points.rows.values():
        if row["network"] == network and row["coder"] == coder:
            place = (float(row["mse"]), float(row["bytes_payload"]))
            found[row["settings"], row["version"]].append(place)
    return found


def best(found: Mapping[tuple[str, str], Curve], target: float) -> tuple[float, str, str] | None:
    """(bytes, settings, version) of the curve that is lowest at an error."""
    sizes = [(size, *key) for key, curve in found.items() for size in at(curve, target)]
    return min(sizes, default=None)


def at(curve: Curve, target: float) -> Iterator[float]:
    """Bytes at an error, linear in its logarithm; nothing where the curve does not reach."""
    curve = sorted(curve)
    for (low, more), (high, less) in pairwise(curve):
        if low <= target <= high and low < high:
            part = math.log(target / low) / math.log(high / low)
            yield more + part * (less - more)
            return
