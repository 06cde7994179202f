"""The project's own codec, called as its users call it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import reticule
from coding.networks import CIFAR, Subject
from reticule.codec import loads
from reticule.codec.arrays import Array, Kind, Layout, Piece
from reticule.codec.bits import ByteReader
from reticule.codec.chunks import coder, plan
from reticule.codec.limits import Limits
from reticule.codec.section import TARGET_BITS
from reticule.data import Data
from reticule.forms.quantised import LARGEST_LEVEL
from reticule.graph import Network
from reticule.recipes import load_recipe

RECIPE = "post-training"
QUALITIES = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14)  # decibels
PRESETS = ("instant", "fast", "small")

AccuracyPoint = tuple[str, object, Callable[[], tuple[int, float]]]


@dataclass(frozen=True)
class Integers:
    """The integers of a network in the chunks of a file, without names, shapes and checksums."""

    preset: str
    given: Mapping[str, np.ndarray]

    def _arrays(self, fill: bool) -> list[Array]:
        return [
            Array(
                Kind.INTEGERS,
                Layout.of(values.shape),
                values.reshape(-1).copy() if fill else np.zeros(values.size, np.int32),
                LARGEST_LEVEL,
            )
            for values in self.given.values()
        ]

    def _chunks(self, arrays: list[Array]) -> Iterator[list[Piece]]:
        return plan([[array] for array in arrays], 1 << TARGET_BITS)

    def encode(self) -> list[bytes]:
        """One payload for each chunk."""
        code = coder(self.preset).encode
        return [code(pieces)[0] for pieces in self._chunks(self._arrays(True))]

    def decode(self, payloads: list[bytes]) -> list[np.ndarray]:
        """The flat integers of each tensor."""
        arrays = self._arrays(False)
        code, limits = coder(self.preset).decode, Limits()
        for pieces, payload in zip(self._chunks(arrays), payloads, strict=True):
            code(ByteReader(payload, "benchmark"), pieces, limits)
        return [array.data for array in arrays]


def integers_size(integers: Mapping[str, np.ndarray], preset: str) -> int:
    """Bytes of all payloads; the round trip is checked."""
    coded = Integers(preset, integers)
    payloads = coded.encode()
    for values, found in zip(integers.values(), coded.decode(payloads), strict=True):
        if not np.array_equal(values.reshape(-1), found):
            raise ValueError(f"preset {preset} gave back other integers")
    return sum(map(len, payloads))


def lossless(network: Network) -> tuple[int, int]:
    """Bytes of the weight section and of the file that keeps every bit of every tensor."""
    result = reticule.compress(network, recipe="lossless")
    found = loads(result.blob).packed.forms
    for name, tensor in network.tensors.items():
        if found[name].dense().tobytes() != np.asarray(tensor, np.float32).tobytes():
            raise ValueError(f"tensor '{name}' came back with other bits")
    return result.bytes_weights, result.bytes_file


def accuracy_points(subject: Subject, data: Path) -> Iterator[AccuracyPoint]:
    """(settings, point, what compresses it) for each quality of the recipe ``post-training``."""
    # Held-out images are only looked at between stages, for the log: a few do.
    train, val = reticule.Data(data / "cifar10/train.parquet", **CIFAR).split(0.01, seed=0)
    test = reticule.Data(data / "cifar10/test.parquet", **CIFAR)
    for quality in QUALITIES:
        yield (
            RECIPE,
            f"quality {quality}",
            lambda q=quality: _compressed(subject, q, train, val, test),
        )


def _compressed(
    subject: Subject, quality: float, train: Data, val: Data, test: Data
) -> tuple[int, float]:
    """Bytes of the file, and the accuracy that a fresh process measured on it."""
    recipe = load_recipe(RECIPE)
    stages = tuple(
        replace(
            stage,
            parameters={**stage.parameters, "quality": quality},
            method=replace(stage.method, quality=quality),  # type: ignore[type-var]
        )
        if stage.name == "trellis-quantisation"
        else stage
        for stage in recipe.stages
    )
    result = reticule.compress(
        subject.network, train=train, val=val, test=test, recipe=replace(recipe, stages=stages)
    )
    assert result.accuracy_after is not None
    return result.bytes_file, result.accuracy_after
