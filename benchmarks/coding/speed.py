"""Encoding and decoding speed on one core, every coder on the same integers.

Coders take turns, many times; the figures are medians of the rounds, in processor seconds, and
ratios are medians of the ratios within a round, so that other load on the machine matters little.
DeepCABAC is timed around the calls into its extension, our presets around the coding of the
chunks (an array's integers in, bytes out, and back), the general compressors around one call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from rivals import general
from rivals.nnc import NNCodec

from coding import ours
from coding.integers import DEEPCABAC, quantised
from coding.networks import Subject, Tensors
from coding.table import Table, own_version

ROUNDS = 15
STEPS = {  # about 2.4 bits a weight on ResNet-20
    "resnet20": "2^-4",
    "resnet44": "2^-4",
    "lenet5": "0.5 std",
    "lenet300100": "0.5 std",
}


@dataclass(frozen=True)
class Timed:
    """``once`` gives the seconds of encoding and of decoding."""

    name: str
    version: str
    once: Callable[[], tuple[float, float]]


def run(subjects: list[Subject], rival: NNCodec | None) -> None:
    results = Table(
        "codec_speed",
        ("network", "step", "coder"),
        (
            "encode_million_per_s",
            "decode_million_per_s",
            "encode_times_deepcabac",
            "decode_times_deepcabac",
            "rounds",
        ),
    )
    for subject in subjects:
        step = STEPS[subject.name]
        integers = dict(quantised(subject))[step]
        coders = list(all_coders(integers, rival))
        rounds = [[coder.once() for coder in coders] for _ in range(ROUNDS)]
        count = sum(values.size for values in integers.values()) / 1e6
        for place, coder in enumerate(coders):
            encode, decode = (median(r[place][way] for r in rounds) for way in (0, 1))
            ratios: list[object] = ["", ""]
            if rival is not None:
                ratios = [median(r[0][way] / r[place][way] for r in rounds) for way in (0, 1)]
            results.put(
                subject.name,
                step,
                coder.name,
                version=coder.version,
                encode_million_per_s=count / encode,
                decode_million_per_s=count / decode,
                encode_times_deepcabac=ratios[0],
                decode_times_deepcabac=ratios[1],
                rounds=ROUNDS,
            )


def all_coders(integers: Tensors, rival: NNCodec | None) -> Iterator[Timed]:
    """DeepCABAC first."""
    if rival is not None:

        def deepcabac() -> tuple[float, float]:
            done = rival.integers(integers)
            return done.encode_seconds, done.decode_seconds

        yield Timed(DEEPCABAC, rival.version, deepcabac)
    for preset in ours.PRESETS:
        own = ours.Integers(preset, integers)
        once = _timed(own.encode, own.decode)
        yield Timed(f"reticule {preset}", own_version(), once)
    data = general.arrangements(list(integers.values()))[0]
    for coder in general.installed(general.xz, general.zstd, general.brotli):
        once = _timed(lambda c=coder: c.pack(data), coder.unpack)  # type: ignore[misc]
        yield Timed(coder.name, coder.version, once)


def _timed(
    encode: Callable[[], object], decode: Callable[..., object]
) -> Callable[[], tuple[float, float]]:
    def once() -> tuple[float, float]:
        start = time.process_time()
        packed = encode()
        between = time.process_time()
        decode(packed)
        return between - start, time.process_time() - between

    return once
