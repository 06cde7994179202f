"""Hashing: the hash to the bit, what training keeps, budgets of bands, hostile files."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from codec_samples import hashed, hashed_forms, packed_of, same_form  # noqa: E402
from test_codec_reference import check  # noqa: E402
from test_codec_reference import murmur as plain_murmur  # noqa: E402
from test_tuning import small_problem  # noqa: E402

import reticule  # noqa: E402
from reticule.codec import About, dumps, loads  # noqa: E402
from reticule.codec.bits import ByteReader, ByteWriter  # noqa: E402
from reticule.codec.chunks import PRESETS  # noqa: E402
from reticule.codec.forms import read_form  # noqa: E402
from reticule.codec.limits import Budget, Limits  # noqa: E402
from reticule.codec.second_order import forward_dct  # noqa: E402
from reticule.engine import Model  # noqa: E402
from reticule.engine.operands import BLOCK_BYTES, operand_of  # noqa: E402
from reticule.errors import Fault, FormatError  # noqa: E402
from reticule.forms import Dense, Hashed, Packed, Quantised, Sparse, Spectral  # noqa: E402
from reticule.forms import hashed as module  # noqa: E402
from reticule.forms.hashed import band_sizes, bands, murmur  # noqa: E402
from reticule.forms.spectral import inverse_dct  # noqa: E402
from reticule.graph import Graph, Node  # noqa: E402
from reticule.methods import (  # noqa: E402
    Context,
    FrequencyHashing,
    Hashing,
    QuantiseValues,
    Retrain,
)
from reticule.methods.hash.budgets import band_budgets  # noqa: E402
from reticule.methods.hash.hashing import values_of  # noqa: E402
from reticule.methods.hash.twins import places  # noqa: E402
from reticule.recipes.loader import recipe_text  # noqa: E402
from reticule.tuning.train import Training  # noqa: E402
from reticule.tuning.twins import twin_of  # noqa: E402


def with_values(shape, seed: int, *budgets: int) -> Hashed:
    """Values that are all different, so that a weight tells its bucket."""
    values = 1 + np.arange(sum(budgets), dtype="f4")
    return Hashed(shape, seed, budgets, Dense(values))


# The hash -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed", "index", "expected"),
    [  # published test vectors of MurmurHash3 x86_32 for messages of four bytes
        (0x00000000, 0xFFFFFFFF, 0x76293B50),
        (0x00000000, 0x87654321, 0xF55B516B),
        (0x5082EDEE, 0x87654321, 0x2362F9DE),
        (0x00000000, 0x00000000, 0x2362F9DE),
    ],
)
def test_the_hash_is_murmurhash3(seed: int, index: int, expected: int) -> None:
    assert murmur(seed, index, index + 1).tolist() == [expected]


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 9))
def test_it_is_the_same_in_plain_python(seed: int, first: int) -> None:
    found = murmur(seed, first, first + 8)
    assert found.tolist() == [plain_murmur(seed, index) for index in range(first, first + 8)]


def test_a_seed_gives_these_weights_for_ever() -> None:
    one = with_values((2, 8), 2015, 4).dense().astype(int)
    assert one.tolist() == [[-1, 1, 4, 2, -2, -3, -4, 4], [-4, 3, -2, -2, 1, -1, -2, 3]]
    bands_ = with_values((2, 1, 2, 3), 2016, 1, 3, 2, 1).dense().astype(int)
    assert bands_.reshape(2, 6).tolist() == [[-1, 3, -5, 3, -5, -7], [1, -2, -5, -3, -6, -7]]


def test_buckets_are_evenly_filled_and_signs_do_not_depend_on_them() -> None:
    count, k = 200_000, 100
    buckets, signs = places(with_values((count,), 1, k))
    members = np.bincount(buckets, minlength=k)
    expected = count / k
    # Chi-squared statistics with 99 and 100 degrees of freedom.
    assert 40 < ((members - expected) ** 2 / expected).sum() < 180
    sums = np.bincount(buckets, signs, k)
    assert 40 < (sums**2 / members).sum() < 180
    again, others = places(with_values((count,), 2, k))
    assert abs(np.mean(again == buckets) - 1 / k) < 0.002
    assert abs(np.mean(others == signs) - 0.5) < 0.01


@pytest.mark.parametrize(
    "form",
    [
        with_values((13, 11), 3, 20),
        with_values((5, 3, 3, 4), 3, 1, 5, 9, 20, 2, 1),
        with_values((4, 2, 1, 1), 3, 3),
    ],
)
def test_weights_restored_in_blocks_are_the_dense_ones(form: Hashed, monkeypatch) -> None:
    whole = form.dense()
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert form.dense().tobytes() == whole.tobytes()
    values = form.values.dense()
    for first in range(0, form.size, 5):
        for last in (first, first + 1, min(first + 23, form.size)):
            found = form.restored(values, first, last)
            assert found.tobytes() == whole.reshape(-1)[first:last].tobytes()
    operand = operand_of(form)
    rows = whole.reshape(len(whole), -1)
    assert operand.matrix(1, 3).tobytes() == rows[1:3].tobytes()


def test_every_band_has_values_of_its_own() -> None:
    form = with_values((20, 3, 3, 2), 9, 2, 8, 5, 1)
    found = np.abs(form.dense()).reshape(60, 6)
    starts = np.cumsum((1, 2, 8, 5, 1))
    for tap, band in enumerate(bands(3, 2)):
        assert starts[band] <= found[:, tap].min() and found[:, tap].max() < starts[band + 1]
    assert band_sizes(form.shape) == (60, 120, 120, 60)
    assert form.nonzero == form.size
    assert replace(form, values=Dense(np.zeros(16, "f4"))).nonzero == 0


@pytest.mark.parametrize(
    ("shape", "budgets"),
    [
        ((4, 4), (17,)),
        ((4, 4), (0,)),
        ((4, 4), (3, 3)),
        ((4, 4), ()),
        ((2, 1, 2, 2), (3, 1, 1)),  # two weights in the first band
        ((2, 1, 2, 2), (1, 0, 1)),
        ((2, 1, 2, 2), (1, 1)),
        ((1, 1, 33, 1), (1,) * 33),
        ((2, 0), (1,)),
    ],
)
def test_budgets_that_do_not_fit_are_refused(shape, budgets) -> None:
    with pytest.raises(ValueError, match=r"values for|budgets"):
        with_values(shape, 0, *budgets)
    with pytest.raises(ValueError, match="32 bits"):
        with_values((4,), 1 << 32, 2)
    with pytest.raises(ValueError, match="budgets of 2"):
        Hashed((4,), 0, (2,), Dense(np.zeros(3, "f4")))


# The file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_hashed_forms_come_back_through_every_preset(preset: str) -> None:
    packed = hashed_forms()
    data = dumps(packed, About(), preset)
    found = loads(data).packed.forms
    assert all(same_form(form, found[name]) for name, form in packed.forms.items())
    assert all(
        form.dense().tobytes() == found[name].dense().tobytes()
        for name, form in packed.forms.items()
    )
    check(data, packed.forms)  # the reader that was written from the specification


def test_a_file_holds_the_values_and_little_else() -> None:
    form = hashed(np.random.default_rng(0), (500, 400), 2000)
    size = loads(dumps(packed_of({"w": form}), About(), "small")).bytes_weights
    assert size <= form.values.bits / 8 + 40


def structure(shape, seed: bytes, budgets, inner: bytes = b"\0") -> bytes:
    """The structure of a hashed tensor of float32 values."""
    out = ByteWriter()
    out.varint(len(shape) + 16 * 7)
    for axis in shape:
        out.varint(axis)
    out.raw(seed)
    out.varint(len(budgets))
    for budget in budgets:
        out.varint(budget)
    out.raw(inner)
    return out.bytes()


@pytest.mark.parametrize(
    ("shape", "budgets", "fault"),
    [
        ((4, 4), [17], Fault.BAD_INDEX),
        ((4, 4), [(1 << 62)], Fault.BAD_INDEX),
        ((4, 4), [0], Fault.BAD_INDEX),
        ((4, 4), [], Fault.BAD_INDEX),
        ((4, 4), [2, 2], Fault.BAD_INDEX),
        ((2, 1, 2, 2), [1, 5, 1], Fault.BAD_INDEX),
        ((2, 1, 2, 2), [1 << 31, 1 << 31, 1 << 31], Fault.BAD_INDEX),
        ((1 << 20, 1, 32, 33), [1] * 64, Fault.BAD_INDEX),
        ((1 << 16, 1 << 14), [1 << 30], Fault.TOO_LARGE),  # more than the file's weights
    ],
)
def test_hostile_budgets_are_refused_before_anything_is_allocated(shape, budgets, fault) -> None:
    reader = ByteReader(structure(shape, b"seed", budgets), "x")
    tracemalloc.start()
    try:
        with pytest.raises(FormatError) as raised:
            read_form(reader, Budget(100, Limits()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert raised.value.fault is fault
    assert peak < 1 << 20


def test_a_structure_cut_short_is_refused_wherever_it_ends() -> None:
    whole = structure((2, 1, 2, 2), b"seed", [1, 2, 1])
    assert read_form(ByteReader(whole, "x"), Budget(100, Limits())).shape == (2, 1, 2, 2)
    for end in range(len(whole)):
        with pytest.raises(FormatError) as raised:
            read_form(ByteReader(whole[:end], "x"), Budget(100, Limits()))
        assert raised.value.fault is Fault.TRUNCATED


def test_values_for_more_weights_than_a_mask_leaves_are_refused() -> None:
    mask = np.zeros((3, 3), bool)
    mask[0, 0] = True
    sparse = Sparse.at(mask, with_values((1,), 0, 1))
    data = bytearray(dumps(packed_of({"w": sparse}), About(), "instant"))
    good = loads(bytes(data)).packed.forms["w"]
    assert good.dense()[0, 0] in (-1, 1)
    many = Sparse.at(np.ones((3, 3), bool), with_values((9,), 0, 5))
    pending = read_form(ByteReader(written(many), "x"), Budget(100, Limits()))
    for array, values in zip(pending.arrays, (mask, np.zeros(5)), strict=True):
        array.data[:] = values.ravel()
    with pytest.raises(FormatError) as raised:
        pending.build()
    assert raised.value.fault is Fault.BAD_INDEX


def written(form) -> bytes:
    from reticule.codec.forms import write_form
    from reticule.codec.parts import Writer

    out = Writer()
    write_form(form, out)
    return out.structure.bytes()


# Running --------------------------------------------------------------------------------------


def test_a_large_layer_is_never_expanded() -> None:
    form = Hashed((3000, 3000), 1, (20_000,), Quantised(np.arange(20_000) % 200 - 100, 0.01))
    node = Node("Gemm", "fc", ("x", "w"), ("y",))
    graph = Graph({"x": (3000,)}, ("y",), (node,), {"w": form.shape})
    model = Model(Packed(graph, {"w": form}))
    assert model.weight_bytes == 20_000
    x = np.random.default_rng(0).normal(size=(2, 3000)).astype("f4")
    tracemalloc.start()
    try:
        found = model(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * BLOCK_BYTES < form.size * 4
    expected = x.astype("f8") @ form.dense().T.astype("f8")
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


# Training -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        hashed(np.random.default_rng(0), (6, 7), 9),
        Spectral(hashed(np.random.default_rng(1), (3, 2, 3, 2), 2, 9, 5, 1)),
        Sparse.at(np.arange(24).reshape(4, 6) % 3 > 0, hashed(np.random.default_rng(2), (16,), 5)),
    ],
    ids=["matrix", "frequencies", "kept"],
)
def test_the_gradient_of_a_value_is_that_of_its_bucket(form) -> None:
    """Against differences of the form itself, restored by numpy."""
    rng = np.random.default_rng(3)
    start = values_of(form).dense()
    form = with_these(form, start)
    weighting = rng.normal(size=form.shape).astype("f4")
    twin = twin_of(form)
    (values,) = twin.parameters()
    np.testing.assert_allclose(twin.tensor().detach().numpy(), form.dense(), atol=1e-5)
    (twin.tensor() * torch.from_numpy(weighting)).sum().backward()
    for k in range(len(start)):
        moved = [start.copy(), start.copy()]
        moved[0][k] += 0.5
        moved[1][k] -= 0.5
        sums = [float((with_these(form, v).dense() * weighting).sum()) for v in moved]
        assert values.grad[k].item() == pytest.approx(sums[0] - sums[1], abs=1e-3)


def with_these(form, values: np.ndarray):
    """The form with other shared values, in floating point."""
    if isinstance(form, Spectral):
        return replace(form, coefficients=with_these(form.coefficients, values))
    if isinstance(form, Sparse):
        return replace(form, values=with_these(form.values, values))
    return replace(form, values=Dense(values.astype("f4")))


def test_training_changes_values_and_not_who_shares_them() -> None:
    problem = small_problem()
    context = Context(problem.original, problem=problem, seed=4)
    start = FrequencyHashing(rate=0.25, smallest=8).apply(Packed.of(problem.original), context)
    settings = Training(epochs=20, learning_rate=0.02, batch=16, bfloat16="off")
    outcome = Retrain(training=settings).apply(start.packed, context)
    for name in ("0.weight", "3.weight"):
        before, after = (p.forms[name] for p in (start.packed, outcome.packed))
        assert type(after) is type(before) and after.name == before.name
        same = with_these(after, values_of(before).dense())
        assert same.dense().tobytes() == before.dense().tobytes()
        assert not np.array_equal(after.dense(), before.dense())
    assert problem.accuracy(outcome.packed) >= 90


# Methods --------------------------------------------------------------------------------------


def network_of(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Packed:
    """Layers that need not fit each other, as only their weights matter here."""
    rng = np.random.default_rng(seed)
    nodes = tuple(
        Node("Conv" if len(shape) == 4 else "Gemm", name, ("x", name), (f"y{name}",))
        for name, shape in shapes.items()
    )
    forms = {name: Dense(rng.normal(size=shape).astype("f4")) for name, shape in shapes.items()}
    return Packed(Graph({"x": (1,)}, ("y",), nodes, shapes), forms)


SHAPES = {
    "conv": (8, 4, 3, 3),
    "depthwise": (30, 1, 5, 5),
    "flat": (6, 5, 1, 7),
    "point": (16, 8, 1, 1),
    "thin": (1, 90),
    "fc": (20, 30),
    "tiny": (3, 3),
}


@pytest.mark.parametrize("cls", [Hashing, FrequencyHashing])
@pytest.mark.parametrize("rate", [0.001, 1 / 16, 0.3, 1.0])
def test_every_layer_gets_its_share_of_values(cls, rate: float) -> None:
    packed = network_of(SHAPES)
    outcome = cls(rate=rate).apply(packed, Context(packed.network(), seed=1))
    assert outcome.skipped == {"tiny": "only 9 weights"}
    total = 0
    for name, shape in SHAPES.items():
        form = outcome.packed.forms[name]
        assert form.shape == shape
        if name == "tiny":
            continue
        spectral = cls is FrequencyHashing and name in ("conv", "depthwise", "flat")
        assert isinstance(form, Spectral) == spectral
        parts = shape[-1] + shape[-2] - 1 if spectral else 1
        count = values_of(form).shape[0]
        assert count == max(round(form.size * rate), parts)
        total += count
    assert outcome.notes["values"] == total


@pytest.mark.parametrize("cls", [Hashing, FrequencyHashing])
def test_balance_moves_values_from_large_layers_to_small_ones(cls) -> None:
    packed = network_of({"large": (90, 100), "small": (10, 10)})
    context = Context(packed.network())
    counts = {}
    for balance in (0.5, 1.0, 1.5):
        forms = cls(rate=0.1, balance=balance).apply(packed, context).packed.forms
        counts[balance] = [values_of(forms[name]).shape[0] for name in ("large", "small")]
        assert sum(counts[balance]) == 910
    assert counts[1.0] == [900, 10]
    assert counts[0.5] == [823, 87] and counts[1.5] == [909, 1]


def test_seeds_decide_the_hashes_and_layers_have_different_ones() -> None:
    packed = network_of({"a": (10, 20), "b": (10, 20)})
    one, same, other = (
        Hashing().apply(packed, Context(packed.network(), seed=seed)).packed.forms
        for seed in (1, 1, 2)
    )
    assert same_form(one["a"], same["a"])
    assert len({one["a"].seed, one["b"].seed, other["a"].seed}) == 3


def test_the_fit_is_the_best_there_is() -> None:
    """No other values give a smaller squared error: a brute-force least squares agrees."""
    packed = network_of({"w": (9, 8)})
    form = Hashing(rate=0.2, init="fit").apply(packed, Context(packed.network())).packed.forms["w"]
    assert isinstance(form, Hashed)
    buckets, signs = places(form)
    matrix = np.zeros((72, form.budgets[0]))
    matrix[np.arange(72), buckets.ravel()] = signs.ravel()
    weights = packed.forms["w"].dense().astype("f8").ravel()
    best = np.linalg.lstsq(matrix, weights, rcond=None)[0]
    np.testing.assert_allclose(form.values.dense(), best, atol=1e-6)


@pytest.mark.parametrize("init", ["scaled", "random"])
@pytest.mark.parametrize("cls", [Hashing, FrequencyHashing])
def test_other_starts_have_the_spread_of_the_original(cls, init: str) -> None:
    packed = network_of({"w": (16, 8, 3, 3)})
    outcome = cls(rate=0.2, init=init).apply(packed, Context(packed.network()))
    before, after = (p.forms["w"].dense() for p in (packed, outcome.packed))
    assert np.square(after).sum() == pytest.approx(np.square(before).sum(), rel=1e-4)


@pytest.mark.parametrize("cls", [Hashing, FrequencyHashing])
def test_pruned_weights_stay_pruned_and_zeros_are_no_trouble(cls) -> None:
    packed = network_of(
        {"conv": (8, 4, 3, 3), "zero": (8, 4, 3, 3), "empty": (4, 0), "none": (9, 9)}
    )
    mask = np.random.default_rng(0).random((8, 4, 3, 3)) < 0.3
    packed = packed.with_forms(
        {
            "conv": Sparse.keep(packed.forms["conv"].dense(), mask),
            "zero": Dense(np.zeros((8, 4, 3, 3), "f4")),
            "none": Sparse.at(np.zeros((9, 9), bool), Dense(np.zeros(0, "f4"))),
        }
    )
    found = cls(smallest=0).apply(packed, Context(packed.network())).packed.forms
    kept = found["conv"]
    assert isinstance(kept, Sparse) and np.array_equal(kept.mask(), mask)
    assert values_of(kept).shape == (round(mask.sum() / 16),)
    assert not found["zero"].dense().any() and not found["none"].dense().any()
    assert found["empty"].dense().shape == (4, 0)
    again = loads(dumps(packed_of(found), About(), "small")).packed.forms
    assert all(same_form(form, again[name]) for name, form in found.items())
    twice = cls(smallest=0).apply(packed.with_forms(found), Context(packed.network()))
    assert "already in the form" in twice.skipped["conv"]


def test_uniform_bands_are_hashing_among_frequencies() -> None:
    """One budget for all frequencies, and alpha = beta = 1: the same share for every band."""
    rng = np.random.default_rng(0)
    one = Spectral(hashed(rng, (6, 4, 3, 3), 20))
    assert one.dense().tobytes() == inverse_dct(one.coefficients.dense()).tobytes()
    packed = network_of({"w": (16, 9, 3, 3)})
    method = FrequencyHashing(rate=1 / 8, alpha=1, beta=1, init="fit")
    form = method.apply(packed, Context(packed.network())).packed.forms["w"]
    assert form.coefficients.budgets == tuple(size // 8 for size in band_sizes((16, 9, 3, 3)))
    # The least squares fit in the orthonormal domain is the one of the kernels themselves.
    spectra = forward_dct(packed.forms["w"].dense())
    buckets, signs = places(form.coefficients)
    count = len(form.coefficients.values.dense())
    means = np.bincount(buckets.ravel(), (signs * spectra).ravel(), count)
    means /= np.maximum(np.bincount(buckets.ravel(), minlength=count), 1)
    np.testing.assert_allclose(form.coefficients.values.dense(), means, atol=1e-6)


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=63),
    st.floats(0, 1),
    st.floats(0.01, 50),
    st.floats(0.01, 50),
)
def test_budgets_add_up_exactly_and_keep_to_their_bands(sizes, part, alpha, beta) -> None:
    total = len(sizes) + round(part * (sum(sizes) - len(sizes)))
    budgets = band_budgets(sizes, total, alpha, beta)
    assert sum(budgets) == total
    assert all(1 <= k <= n for k, n in zip(budgets, sizes, strict=True))


def test_a_skewed_density_gives_low_bands_more() -> None:
    sizes = band_sizes((64, 64, 3, 3))
    shares = np.array(band_budgets(sizes, 2304, 0.25, 2.5)) / sizes
    assert (np.diff(shares) < 0).all() and shares[0] > 10 * shares[-1]
    x = np.arange(1, 6) / 6
    density = x**-0.75 * (1 - x) ** 1.5
    np.testing.assert_allclose(shares / shares.sum(), density / density.sum(), rtol=0.02)
    flat = np.array(band_budgets(sizes, 2304, 1, 1)) / sizes
    np.testing.assert_allclose(flat, 1 / 16)


@pytest.mark.parametrize("bits", [2, 5, 8, 16])
def test_quantised_values_have_so_many_bits_and_a_small_error(bits: int) -> None:
    packed = network_of(SHAPES)
    context = Context(packed.network(), seed=1)
    hashed_ = FrequencyHashing(rate=0.5).apply(packed, context).packed
    outcome = QuantiseValues(bits=bits).apply(hashed_, context)
    assert outcome.skipped["tiny"] == "dense is neither hashed nor factored"
    for name in ("conv", "point", "fc"):
        before, after = (values_of(p.forms[name]) for p in (hashed_, outcome.packed))
        assert isinstance(after, Quantised)
        assert np.abs(after.levels.astype(int)).max() <= 2 ** (bits - 1) - 1
        error = np.square(after.dense() - before.dense()).mean() / np.square(before.dense()).mean()
        assert error < 8 * 4.0**-bits
    again = QuantiseValues().apply(outcome.packed, context)
    assert "already in the form" in again.skipped["fc"]


@pytest.mark.parametrize("recipe", ["hashednet", "freshnets"])
def test_recipes_make_files_that_run(recipe: str, tmp_path) -> None:
    problem = small_problem()
    text = recipe_text(recipe).replace("share: 1.0", "share: 0.05")
    (tmp_path / "quick.yaml").write_text(text, "utf-8")
    result = reticule.compress(
        problem.original, train=problem.train, val=problem.held_out, recipe=tmp_path / "quick.yaml"
    )
    path = tmp_path / "x.ret"
    result.save(path)
    assert result.ratio > 4
    x = np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype("f4")
    expected = Model(result.packed)(x)
    np.testing.assert_array_equal(reticule.load(path)(x), expected)
