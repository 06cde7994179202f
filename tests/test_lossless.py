"""Lossless packing: exact to the bit, and in the form that the weights really have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytest.importorskip("torch")

from codec_samples import packed_of

from reticule.codec import About, dumps, loads
from reticule.forms import Codebook, Dense
from reticule.graph import Graph, Network
from reticule.methods import Context, Lossless
from reticule.methods.lossless import smallest

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def packed_again(weights: np.ndarray) -> tuple[np.ndarray, str, int]:
    """A tensor after lossless packing and a file: its weights, its form, its bytes."""
    loaded = loads(dumps(packed_of({"w": smallest(Dense(weights))}), About()))
    form = loaded.packed.forms["w"]
    return form.dense(), form.name, loaded.tensor_bytes["w"]


def noise(shape: tuple[int, ...] = (64, 100), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("f4")


SPECIAL = {
    "float16": (noise().astype("f2").astype("f4"), "dense(float16)"),
    "pruned": (noise() * (noise(seed=1) > 1), "sparse"),
    "pruned float16": (
        noise().astype("f2").astype("f4") * (noise(seed=1) > 1),
        "",
    ),
    "shared": (noise((16,))[np.random.default_rng(0).integers(0, 16, (64, 100))], "codebook16"),
    "grid": (np.rint(noise() * 40) * np.float32(0.0123) + 0, "quantised"),
    "zero": (np.zeros((64, 100), "f4"), ""),
    "negative zeros": (-np.zeros((64, 100), "f4"), ""),
    "both zeros": (np.copysign(np.zeros((64, 100), "f4"), noise()), ""),
    "subnormal": (noise() * np.float32(1e-42), ""),
    "huge": (noise() * np.float32(1e37), ""),
    "one huge": (np.array(1e34, "f4"), ""),
    "largest": (np.array([3.4028235e38, -3.4028235e38, 1.0], "f4"), ""),
    "smallest": (np.array([1e-45, 3e-45, 0.0], "f4"), ""),
    "empty": (np.zeros((0, 3), "f4"), ""),
    "scalar": (np.array(0.1, "f4"), ""),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_what_weights_really_are_is_found_and_kept(name):
    weights, kind = SPECIAL[name]
    weights = weights.astype("f4")
    found, form, size = packed_again(weights)
    assert found.tobytes() == weights.tobytes()
    assert kind in ("", form)
    if kind or "float16" in name:
        assert size < 0.75 * weights.nbytes


@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=4, max_side=6), elements=FINITE)
)
@settings(deadline=None, max_examples=50)
def test_any_weights_come_back_to_the_bit(weights):
    assert packed_again(weights)[0].tobytes() == weights.tobytes()


def test_trained_weights_shrink_and_noise_does_not_grow():
    scales = np.exp(noise((64, 1), 1)) * np.exp(noise((1, 100), 2))
    _, _, size = packed_again(0.01 * noise() * scales)
    assert size < 0.9 * 4 * 6400
    bits = np.random.default_rng(0).integers(0, 2**31, 6400, dtype=np.uint32)
    wild = np.where(np.isfinite(bits.view("f4")), bits.view("f4"), 1).astype("f4")
    assert packed_again(wild)[2] <= wild.nbytes + 24


def test_compressed_tensors_are_left_alone_and_named():
    table = Codebook(np.zeros(4, "u1"), Dense(np.ones(1, "f4")))
    packed = packed_of({"shared": table, "plain": Dense(noise((20, 20)))})
    network = Network(Graph({"x": (1,)}, ("x",), (), {}), {})
    outcome = Lossless().apply(packed, Context(network))
    assert outcome.packed.forms["shared"] is table
    assert set(outcome.skipped) == {"shared"}
    assert outcome.notes["forms"] == {"plain": "dense"}
