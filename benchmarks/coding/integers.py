"""Size at equal integers: the same quantised weights through every entropy coder.

ResNets: round(w * 2**s) with s = 3..6; LeNets: steps of 0.5 and 0.15 standard deviations of each
tensor.  Every coder's round trip is checked.  Names, shapes and steps are counted for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from rivals import general, huffman
from rivals.nnc import NNCodec

from coding import ours
from coding.networks import Subject, Tensors
from coding.table import Table, own_version

DEEPCABAC = "DeepCABAC"
POWERS = (3, 4, 5, 6)
DEVIATIONS = (0.5, 0.15)


@dataclass(frozen=True)
class Coder:
    """``size`` gives the bytes of a network's integers."""

    name: str
    version: str
    size: Callable[[Tensors], int]


def run(subjects: list[Subject], rival: NNCodec | None) -> None:
    results = Table(
        "codec_integers",
        ("network", "step", "coder"),
        ("bytes", "bits_per_weight", "against_deepcabac_percent"),
    )
    coders = list(all_coders(rival))
    for subject in subjects:
        for step, integers in quantised(subject):
            base = None
            for coder in coders:
                key = (subject.name, step, coder.name)
                if not results.has(*key, version=coder.version):
                    size = coder.size(integers)
                    values = {
                        "bytes": size,
                        "bits_per_weight": 8 * size / sum(t.size for t in integers.values()),
                        "against_deepcabac_percent": 100 * (size / base - 1) if base else "",
                    }
                    results.put(*key, version=coder.version, **values)
                if coder.name == DEEPCABAC:
                    base = int(results.value(*key, column="bytes"))


def all_coders(rival: NNCodec | None) -> Iterator[Coder]:
    """DeepCABAC first: it is what the others are compared with."""
    if rival is not None:
        yield Coder(DEEPCABAC, rival.version, lambda integers: rival.integers(integers).size)
    for coder in general.installed(general.xz, general.zstd, general.brotli):
        yield Coder(coder.name, coder.version, _of_bytes(coder))
    yield Coder("Huffman", huffman.VERSION, huffman.plain_size)
    yield Coder("Deep Compression", huffman.VERSION, huffman.deep_compression_size)
    for preset in ours.PRESETS:
        yield Coder(f"reticule {preset}", own_version(), _of_preset(preset))


def _of_bytes(coder: general.ByteCoder) -> Callable[[Tensors], int]:
    return lambda integers: general.integer_size(coder, list(integers.values()))


def _of_preset(preset: str) -> Callable[[Tensors], int]:
    return lambda integers: ours.integers_size(integers, preset)


def quantised(subject: Subject) -> Iterator[tuple[str, Tensors]]:
    """(step in words, integers of each tensor)."""
    weights = subject.weights
    if subject.name.startswith("resnet"):
        for power in POWERS:
            factor = np.float32(2**power)
            yield f"2^-{power}", {name: rounded(w * factor) for name, w in weights.items()}
    else:
        for part in DEVIATIONS:
            steps = {name: part * w.std(dtype="f8") for name, w in weights.items()}
            yield f"{part:g} std", {n: rounded(w / steps[n]) for n, w in weights.items()}


def rounded(values: np.ndarray) -> np.ndarray:
    return np.round(values).astype(np.int32)
