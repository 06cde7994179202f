"""Forms: what they restore, what they refuse, and the weights being the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.fft import dctn

from reticule.forms import Dense, Quantised, Spectral
from reticule.forms.quantised import LARGEST_LEVEL, trellis_rows
from reticule.forms.spectral import dct_basis

STEPS = st.floats(2**-20, 2**20, width=32)


@given(hnp.arrays(np.int32, (3, 4), elements=st.integers(-LARGEST_LEVEL, LARGEST_LEVEL)), STEPS)
def test_a_quantised_weight_is_one_float32_product(levels, step):
    form = Quantised(levels, step)
    exact = levels.astype(np.float64) * np.float64(np.float32(step))
    assert form.dense().dtype == np.float32
    assert np.array_equal(form.dense(), exact.astype(np.float32))
    assert np.array_equal(form.levels, levels)
    assert form.nonzero == np.count_nonzero(levels)


@pytest.mark.parametrize(
    ("low", "high", "bits"), [(-128, 127, 8), (-129, 0, 16), (0, 128, 16), (-1, 40_000, 32)]
)
def test_levels_are_kept_in_the_narrowest_type(low, high, bits):
    assert Quantised(np.array([low, high]), 1.0).levels.dtype == f"i{bits // 8}"


@pytest.mark.parametrize("step", [0.0, -1.0, np.inf, np.nan, 1e-60])
def test_a_step_must_be_a_positive_float32(step):
    with pytest.raises(ValueError, match="step"):
        Quantised(np.zeros(3, int), step)


def test_levels_and_states_have_limits():
    with pytest.raises(ValueError, match="too large"):
        Quantised(np.array([LARGEST_LEVEL + 1]), 1.0)
    with pytest.raises(ValueError, match="too large"):
        Quantised(np.array([2]), 3e38)
    with pytest.raises(ValueError, match="7 states"):
        Quantised(np.array([2]), 1.0, states=7)


@given(st.integers(0, 1 << 20))
def test_the_rows_of_a_trellis_group_hold_enough_weights_and_not_a_row_more(columns):
    rows = trellis_rows(columns)
    assert rows >= 1 and (rows - 1) * columns < 1 << 16 <= rows * max(columns, 1)


@pytest.mark.parametrize("size", range(1, 12))
def test_the_basis_is_orthonormal_and_exact_in_30_bits(size):
    basis = dct_basis(size)
    assert np.allclose(basis @ basis.T, np.eye(size), atol=1e-8)
    assert np.array_equal(basis * 2**30, np.rint(basis * 2**30))


@given(hnp.array_shapes(min_dims=4, max_dims=4, max_side=7))
@settings(deadline=None)
def test_coefficients_give_back_the_kernels(shape):
    weights = np.random.default_rng(0).normal(size=shape).astype("f4")
    coefficients = dctn(weights.astype("f8"), axes=(-2, -1), norm="ortho")
    form = Spectral(Dense(coefficients.astype("f4")))
    assert np.allclose(form.dense(), weights, atol=1e-6)
    assert form.shape == shape and form.dense().dtype == np.float32


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 4, 5), (1, 1, 33, 1), (1, 1, 0, 3)])
def test_only_kernels_are_transformed(shape):
    with pytest.raises(ValueError, match="no kernels"):
        Spectral(Dense(np.zeros(shape, "f4")))
