"""Forms: what is stored comes back to the last bit, and no tensor grows."""

from __future__ import annotations

import numpy as np
import pytest
from codec_samples import packed_of, pruned, same_form
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reticule.codec import About, dumps, loads
from reticule.codec.positions import encode_positions, gaps_to_rows
from reticule.errors import ModelError
from reticule.forms import Codebook, Dense, Form, Sparse, matrix_shape

SHAPES = st.one_of(
    st.sampled_from([(), (0,), (0, 3), (3, 0), (1,), (1, 1), (2, 0, 4)]),
    hnp.array_shapes(min_dims=1, max_dims=4, max_side=7),
)
OVERHEAD = 40  # bytes that a record may add to the plain numbers


def numbers(dtype: str) -> st.SearchStrategy[float]:
    width = 8 * np.dtype(dtype).itemsize
    return st.floats(width=width, allow_nan=False, allow_infinity=False)


@st.composite
def dense_forms(draw: st.DrawFn, shape: tuple[int, ...]) -> Dense:
    dtype = draw(st.sampled_from(["f4", "f2"]))
    return Dense(draw(hnp.arrays(dtype, shape, elements=numbers(dtype))))


@st.composite
def forms(draw: st.DrawFn, shape: tuple[int, ...], depth: int = 3) -> Form:
    kind = draw(st.sampled_from(["dense", "codebook", "sparse"] if depth else ["dense"]))
    if kind == "codebook":
        k = draw(st.integers(1, 40))
        indices = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, k - 1)))
        return Codebook(indices, draw(forms((k,), depth - 1)))
    if kind == "sparse":
        mask = draw(hnp.arrays(bool, shape))
        return Sparse.at(mask, draw(forms((int(mask.sum()),), depth - 1)))
    return draw(dense_forms(shape))


def stored(form: Form) -> tuple[Form, int]:
    """The form after a round trip, and the bytes of its record."""
    loaded = loads(dumps(packed_of({"w": form}), About()))
    return loaded.packed.forms["w"], loaded.tensor_bytes["w"]


@given(st.data())
def test_every_nesting_of_forms_comes_back(data):
    form = data.draw(forms(data.draw(SHAPES)))
    found, _ = stored(form)
    assert same_form(form, found)
    assert found.dense().tobytes() == form.dense().tobytes()


@given(st.data())
def test_no_dense_tensor_grows(data):
    form = data.draw(dense_forms(data.draw(SHAPES)))
    assert stored(form)[1] <= form.values.nbytes + OVERHEAD


@pytest.mark.parametrize("density", [0.0, 0.001, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(40, 50), (2000,), (20, 4, 5, 5), (1, 2000), (2000, 1)])
def test_no_sparse_tensor_grows_beyond_its_mask_and_values(density, shape):
    form = pruned(np.random.default_rng(3), shape, density, 16)
    found, size = stored(form)
    assert same_form(form, found)
    assert size <= (form.size + 7) // 8 + form.columns.size // 2 + 4 * 16 + OVERHEAD


@pytest.mark.parametrize("last", [1, 15, 16, 17, 2048, 2049, 100_000])
def test_one_entry_far_away_needs_few_bytes(last):
    mask = np.zeros(last + 1, bool)
    mask[last] = True
    form = Sparse.at(mask, Dense(np.ones(1, "f4")))
    found, size = stored(form)
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


def test_sparse_tensors_come_near_the_entropy_of_mask_and_codes():
    """8 % of a large layer, 32 shared values: Deep Compression's own example."""
    rng = np.random.default_rng(1)
    form = pruned(rng, (300, 784), 0.08, 32)
    density = form.columns.size / form.size
    mask_bits = -np.log2(density) * density - np.log2(1 - density) * (1 - density)
    counts = np.bincount(form.values.indices)
    shares = counts[counts > 0] / counts.sum()
    codes = -(shares * np.log2(shares)).sum() * form.columns.size
    ideal = (mask_bits * form.size + codes) / 8 + 4 * 32
    assert stored(form)[1] <= 1.01 * ideal + 60


def test_weights_that_are_not_finite_are_refused_by_name():
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ModelError, match="tensor 'w'"):
            dumps(packed_of({"w": Dense(np.array([1.0, bad], "f4"))}), About())


def test_the_integers_of_a_form_do_not_depend_on_their_type():
    table = Dense(np.array([1.0, 2.0], "f4"))
    narrow = Codebook(np.array([0, 1, 1], "u1"), table)
    wide = Codebook(np.array([0, 1, 1], "i8"), table)
    assert dumps(packed_of({"w": narrow}), About()) == dumps(packed_of({"w": wide}), About())


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
        dumps(packed_of({"w": Foreign()}), About())
    assert matrix_shape((2,)) == (1, 2)
