"""Our codec against NNCodec, Huffman coding, xz, zstd, brotli and ZipNN, on real networks.

    python benchmarks/codec.py ../shared/models ../shared/data --nncodec ../nncenv/bin/python

The first argument is a folder with resnet20.th, resnet20.onnx, resnet44.onnx, lenet5.onnx and
lenet300100.onnx, the second one with cifar10/train.parquet and cifar10/test.parquet.  NNCodec runs
in an environment of its own (rivals/nnc.py says how to make it).  Rivals that are not
installed are left out.

Parts, of which ``--part`` picks some: ``integers`` (size at equal integers), ``error`` (size at
equal weight error), ``accuracy`` (whole files at equal accuracy on CIFAR-10), ``lossless``
(float32 bit for bit), ``speed`` (one core), ``page`` (picture and tables of
docs/codec-benchmark.md, from the results).

Each part writes benchmarks/results/codec_*.csv row by row, and a run that was interrupted goes on
where it was: rows of the same version of the same coder are kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from coding import accuracy, error, integers, lossless, page, plot, speed
from coding.networks import NETWORKS, Subject
from rivals.nnc import NNCodec

PARTS = ("integers", "error", "accuracy", "lossless", "speed", "page")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, help="folder with the networks")
    parser.add_argument("data", type=Path, help="folder with cifar10/")
    parser.add_argument("--nncodec", metavar="PYTHON", help="interpreter that has NNCodec")
    parser.add_argument("--part", choices=PARTS, action="append", help="all, if left out")
    parser.add_argument("--network", choices=NETWORKS, action="append", help="all, if left out")
    return parser.parse_args()


def nncodec(given: argparse.Namespace, parts: Sequence[str]) -> NNCodec | None:
    """NNCodec, where a part needs it and it can be had."""
    if not set(parts) & {"integers", "error", "accuracy", "speed"}:
        return None
    if given.nncodec is None:
        print("nncodec: skipped, --nncodec names no interpreter that has it")
        return None
    try:
        return NNCodec(given.nncodec)
    except RuntimeError as problem:
        print(f"nncodec: skipped, {problem}")
        return None


def draw_and_write() -> None:
    plot.draw()
    page.write()


def main() -> None:
    given = arguments()
    subjects = [Subject(name, given.models) for name in given.network or NETWORKS]
    wanted = given.part or PARTS
    rival = nncodec(given, wanted)
    parts: dict[str, Callable[[], None]] = {
        "integers": lambda: integers.run(subjects, rival),
        "error": lambda: error.run(subjects, rival),
        "accuracy": lambda: accuracy.run(
            Subject(accuracy.NETWORK, given.models), given.data, rival
        ),
        "lossless": lambda: lossless.run(subjects),
        "speed": lambda: speed.run(subjects, rival),
        "page": draw_and_write,
    }
    for part in wanted:
        parts[part]()
    if rival is not None:
        rival.close()


if __name__ == "__main__":
    main()
