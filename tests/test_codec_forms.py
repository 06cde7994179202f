"""Forms: what is stored comes back to the last bit, and no tensor grows."""

from __future__ import annotations

from contextlib import nullcontext
from math import prod
from unittest.mock import patch

import numpy as np
import pytest
from codec_samples import packed_of, pruned, quantised, same_form
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reticule import _native
from reticule.codec import About, dumps, loads
from reticule.codec.chunks import PRESETS, coder
from reticule.codec.positions import encode_positions, gaps_to_rows
from reticule.codec.section import _Coded
from reticule.errors import ModelError, ReticuleError
from reticule.forms import (
    Codebook,
    Common,
    Dense,
    Factored,
    Form,
    Hashed,
    Quantised,
    Scaled,
    Sparse,
    Spectral,
    matrix_shape,
)
from reticule.forms.quantised import TRELLIS_STATES

SHAPES = st.one_of(
    st.sampled_from([(), (0,), (0, 3), (3, 0), (1,), (1, 1), (2, 0, 4)]),
    hnp.array_shapes(min_dims=1, max_dims=4, max_side=7),
)
OVERHEAD = 40  # bytes that a weight section may add to the plain numbers of one tensor


def numbers(dtype: str) -> st.SearchStrategy[float]:
    width = 8 * np.dtype(dtype).itemsize
    return st.floats(width=width, allow_nan=False, allow_infinity=False)


@st.composite
def masks(draw: st.DrawFn, shape: tuple[int, ...]) -> np.ndarray:
    """Of single weights, or of blocks, the last ones cut."""
    sides = draw(st.tuples(*[st.sampled_from([1, 1, 2, 4, axis or 1]) for axis in shape]))
    counts = tuple(-(-axis // side) for axis, side in zip(shape, sides, strict=True))
    mask = draw(hnp.arrays(bool, counts))
    for axis, side in enumerate(sides):
        mask = mask.repeat(side, axis)
    return mask[tuple(slice(axis) for axis in shape)]


@st.composite
def dense_forms(draw: st.DrawFn, shape: tuple[int, ...]) -> Dense:
    dtype = draw(st.sampled_from(["f4", "f2"]))
    return Dense(draw(hnp.arrays(dtype, shape, elements=numbers(dtype))))


@st.composite
def grids(draw: st.DrawFn, shape: tuple[int, ...], under_mask: bool) -> Quantised:
    largest = draw(st.sampled_from([0, 1, 40, 3000, 1 << 23]))
    levels = draw(hnp.arrays(np.int32, shape, elements=st.integers(-largest, largest)))
    step = draw(st.sampled_from([1.0, 0.375, 1e-3, 1e-38, 1e31]))
    states = 0 if under_mask else draw(st.sampled_from(TRELLIS_STATES))
    if states:
        indices, levels = levels.reshape(-1), np.empty(levels.size, np.int32)
        _native.trellis_levels(indices, matrix_shape(shape)[1], states, levels)
    return Quantised(levels.reshape(shape), step, states)


@st.composite
def forms(
    draw: st.DrawFn, shape: tuple[int, ...], depth: int = 3, under_mask: bool = False
) -> Form:
    kinds = ["dense", "quantised"]
    if depth:
        kinds += ["codebook", "sparse", "hashed"]
        if len(shape) >= 4 and not under_mask:
            kinds.append("common")
        if shape and not under_mask:
            kinds.append("scaled")
        if len(shape) >= 2 and not under_mask:
            kinds.append("factored")
        if len(shape) >= 4 and all(shape[-2:]) and not under_mask:
            kinds.append("spectral")
    kind = draw(st.sampled_from(kinds))
    if kind == "codebook":
        k = draw(st.integers(1, 40))
        indices = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, k - 1)))
        return Codebook(indices, draw(forms((k,), depth - 1)))
    if kind == "sparse":
        mask = draw(masks(shape))
        return Sparse.at(mask, draw(forms((int(mask.sum()),), depth - 1, True)))
    if kind == "hashed":
        size = prod(shape)
        k = draw(st.integers(min(size, 1), size))
        seed = draw(st.integers(0, (1 << 32) - 1))
        return Hashed(shape, seed, (k,), draw(forms((k,), depth - 1)))
    if kind == "scaled":
        values, scales = draw(forms(shape, depth - 1)), draw(forms(shape[:1], 0))
        reach = (float(np.abs(part.dense()).max(initial=0)) for part in (values, scales))
        assume(prod(reach) <= 1e38)
        return Scaled(values, scales)
    if kind == "factored":
        rank, second = draw(st.integers(0, 4)), draw(st.none() | st.integers(0, 4))
        inputs = shape[1] if second is None else second
        parts = [draw(forms((shape[0], rank), depth - 2 if depth > 1 else 0))]
        parts.append(draw(forms((rank, inputs, *shape[2:]), 0)))
        parts += [] if second is None else [draw(forms((shape[1], second), 0))]
        reach = (float(np.abs(part.dense()).max(initial=0)) for part in parts)
        assume(prod(reach) <= 1e36)
        return Factored(*parts)
    if kind == "common":
        kernels = shape[:-2]
        k = draw(st.integers(min(prod(kernels), 1), min(prod(kernels), 40)))
        labels = draw(hnp.arrays(np.uint8, kernels, elements=st.integers(0, max(k - 1, 0))))
        parts = draw(forms((k, *shape[-2:]), 0)), draw(forms(shape, depth - 1))
        assume(all(float(np.abs(part.dense()).max(initial=0)) <= 1e38 for part in parts))
        return Common(labels, *parts)
    if kind == "spectral":
        inner = draw(forms(shape, depth - 1))
        values = inner.dense()
        assume(float(np.abs(values).max(initial=0)) <= 1e36)  # a sum over taps must be finite
        return Spectral(inner)
    return draw(grids(shape, under_mask) if kind == "quantised" else dense_forms(shape))


def stored(form: Form, preset: str = "instant") -> tuple[Form, int]:
    """The form after a round trip, and the bytes of its weight section."""
    loaded = loads(dumps(packed_of({"w": form}), About(), preset))
    assert loaded.tensor_bytes == {"w": loaded.bytes_weights}
    return loaded.packed.forms["w"], loaded.bytes_weights


@pytest.mark.parametrize("preset", PRESETS)
@given(st.data())
def test_every_nesting_of_forms_comes_back(preset, data):
    form = data.draw(forms(data.draw(SHAPES)))
    by_preset = patch.object(
        _Coded, "shortest", lambda pieces, _: _Coded(*coder(preset).encode(pieces))
    )
    for chooser in (nullcontext(), by_preset):  # the preset may be left for instant, or not
        with chooser:
            found, _ = stored(form, preset)
        assert same_form(form, found)
        assert found.dense().tobytes() == form.dense().tobytes()


@pytest.mark.parametrize("preset", ["fast", "small"])
def test_no_preset_is_longer_than_instant(preset):
    rng = np.random.default_rng(0)
    codes = Codebook(
        rng.permutation(np.arange(8000) % 8).astype("u1"), Dense(np.arange(8.0, dtype="f4"))
    )
    for form in (
        Dense(np.ones((64, 8, 5, 5), "f4")),
        codes,
        pruned(rng, (100, 100), 0.01, 2),
        quantised(rng, (50, 50), 8),
        Sparse.at(np.ones((30, 30), bool), Dense(np.ones(900, "f4"))),
    ):
        assert stored(form, preset)[1] <= stored(form, "instant")[1] + 1


@pytest.mark.parametrize("preset", PRESETS)
@given(st.data())
def test_no_dense_tensor_grows(preset, data):
    form = data.draw(dense_forms(data.draw(SHAPES)))
    assert stored(form, preset)[1] <= form.values.nbytes + OVERHEAD


@pytest.mark.parametrize("preset", PRESETS)
def test_noise_does_not_grow_in_large_tensors_either(preset):
    patterns = np.random.default_rng(0).integers(0, 0x7F80_0000, (300, 500), np.uint32)
    form = Dense(patterns.view("f4"))
    assert stored(form, preset)[1] <= form.values.nbytes + 2 * OVERHEAD


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("states", TRELLIS_STATES)
@pytest.mark.parametrize(
    "shape", [(), (9,), (6, 5), (4, 3, 7), (8, 1, 3, 3), (2, 3, 3, 2, 2), (90, 30, 5, 5)]
)
def test_levels_of_every_trellis_come_back_in_every_rank(shape, states, preset):
    form = quantised(np.random.default_rng(1), shape, states)
    found, size = stored(form, preset)
    assert same_form(form, found)
    assert size <= form.bits / 8 + OVERHEAD


@pytest.mark.parametrize("preset", PRESETS)
def test_a_trellis_saves_about_a_bit_for_each_level(preset):
    rng = np.random.default_rng(2)
    path = quantised(rng, (64, 1000), 8, 4.0)
    plain = Quantised(path.levels, path.step)
    assert stored(path, preset)[1] < stored(plain, preset)[1] - 0.6 * path.size / 8


def test_levels_that_are_no_path_are_refused_by_name():
    one = quantised(np.random.default_rng(0), (4, 5), 8)
    bent = Quantised(one.levels + (one.levels == one.levels.max()), one.step, 8)
    with pytest.raises(ModelError, match=r"tensor 'w'.*trellis"):
        dumps(packed_of({"w": bent}), About(), "instant")
    inside = Sparse.at(np.ones((4, 5), bool), Quantised(np.zeros(20, int), 1.0, 8))
    with pytest.raises(ModelError, match=r"tensor 'w'.*trellis"):
        dumps(packed_of({"w": inside}), About(), "instant")


def test_a_transform_needs_kernels_and_finite_sums():
    kernels = Spectral(Dense(np.ones((1, 1, 2, 2), "f4")))
    large = Spectral(Dense(np.full((1, 1, 2, 2), 3e38, "f4")))
    assert same_form(stored(kernels)[0], kernels)
    with pytest.raises(ModelError, match=r"tensor 'w'.*infinite"):
        dumps(packed_of({"w": large}), About(), "instant")


def test_forms_that_need_too_much_room_are_refused():
    ones = np.ones(1 << 20, bool)
    form = Dense(np.zeros(1 << 20, "f2"))
    for _ in range(7):
        form = Sparse.at(ones, form)
    with pytest.raises(ReticuleError, match="more than the limits"):
        dumps(packed_of({"w": form}), About(), "instant")
    with pytest.raises(ModelError, match="nested"):
        dumps(packed_of({"w": Sparse.at(ones, form)}), About(), "instant")


@pytest.mark.parametrize("density", [0.0, 0.001, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(40, 50), (2000,), (20, 4, 5, 5), (1, 2000), (2000, 1)])
@pytest.mark.parametrize("preset", PRESETS)
def test_no_sparse_tensor_grows_beyond_its_mask_and_values(density, shape, preset):
    form = pruned(np.random.default_rng(3), shape, density, 16)
    found, size = stored(form, preset)
    assert same_form(form, found)
    assert size <= (form.size + 7) // 8 + form.columns.size // 2 + 4 * 16 + OVERHEAD


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("last", [1, 15, 16, 17, 2048, 2049, 100_000])
def test_one_entry_far_away_needs_few_bytes(last, preset):
    mask = np.zeros(last + 1, bool)
    mask[last] = True
    form = Sparse.at(mask, Dense(np.ones(1, "f4")))
    found, size = stored(form, preset)
    assert same_form(form, found)
    assert size <= OVERHEAD


@pytest.mark.parametrize("width", [500, 3])
def test_structure_along_either_axis_is_used(width):
    rng = np.random.default_rng(0)
    mask = np.zeros((500, 500), bool)
    mask[:, rng.choice(500, width, replace=False)] = rng.random((500, width)) < 3 / width
    columns = encode_positions(np.flatnonzero(mask), 500, 500)
    rows = encode_positions(np.flatnonzero(mask.T), 500, 500)
    assert abs(len(columns.stream) - len(rows.stream)) <= 2 + 0.02 * len(rows.stream)


@given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)),
)
def test_positions_come_back_as_compressed_rows(mask):
    rows, cols = mask.shape
    coded = encode_positions(np.flatnonzero(mask), rows, cols)
    indptr, columns = gaps_to_rows(
        coded.symbols, coded.step, rows, cols, int(mask.sum()), coded.by_columns
    )
    expected = Sparse.at(mask, Dense(np.zeros(int(mask.sum()), "f4")))
    assert np.array_equal(indptr, expected.indptr)
    assert np.array_equal(columns, expected.columns)


@pytest.mark.parametrize(
    ("symbols", "count", "problem"),
    [
        ([0, 0, 0], 2, "more positions"),
        ([0], 2, "fewer positions"),
        ([0, 5], 1, "out of range"),
        ([4, 4, 1], 1, "outside"),
        ([1, 4], 1, "escape"),
    ],
)
def test_positions_that_do_not_fit_are_refused(symbols, count, problem):
    for by_columns in (False, True):
        with pytest.raises(ValueError, match=problem):
            gaps_to_rows(np.array(symbols, np.uint16), 4, 3, 3, count, by_columns)


@pytest.mark.parametrize("preset", PRESETS)
def test_sparse_tensors_come_near_the_entropy_of_mask_and_codes(preset):
    """8 % of a large layer, 32 shared values: Deep Compression's own example."""
    rng = np.random.default_rng(1)
    form = pruned(rng, (300, 784), 0.08, 32)
    density = form.columns.size / form.size
    mask_bits = -np.log2(density) * density - np.log2(1 - density) * (1 - density)
    counts = np.bincount(form.values.indices)
    shares = counts[counts > 0] / counts.sum()
    codes = -(shares * np.log2(shares)).sum() * form.columns.size
    ideal = (mask_bits * form.size + codes) / 8 + 4 * 32
    learning = 0.01 if preset == "instant" else 0.025  # adaptive models begin with nothing
    assert stored(form, preset)[1] <= (1 + learning) * ideal + 60


def test_weights_that_are_not_finite_are_refused_by_name():
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ModelError, match="tensor 'w'"):
            dumps(packed_of({"w": Dense(np.array([1.0, bad], "f4"))}), About(), "instant")


def test_the_integers_of_a_form_do_not_depend_on_their_type():
    table = Dense(np.array([1.0, 2.0], "f4"))
    codes = [Codebook(np.array([0, 1, 1], dtype), table) for dtype in ("u1", "i8")]
    levels = [Quantised(np.array([0, 1, -1], dtype), 0.5) for dtype in ("i1", "i8", "f8")]
    for same in (codes, levels):
        assert len({dumps(packed_of({"w": form}), About(), "instant") for form in same}) == 1


def test_a_form_without_a_codec_is_refused_by_name():
    class Other(Dense):
        pass

    # A subclass stores as what it extends, anything else must be registered.
    assert stored(Other(np.ones(2, "f4")))[0].name == "dense"

    class Foreign(Form):
        shape = (2,)
        name, bits, nonzero = "foreign", 0, 0

        def dense(self) -> np.ndarray:
            return np.zeros(2, "f4")

    with pytest.raises(ModelError, match=r"tensor 'w'.*foreign"):
        dumps(packed_of({"w": Foreign()}), About(), "instant")
    assert matrix_shape((2,)) == (1, 2)
