"""Layers of low rank: the form, what acts on its factors, and the methods that make it."""

from __future__ import annotations

import numpy as np
import pytest
from codec_samples import factored_forms, packed_of

torch = pytest.importorskip("torch")

from reticule.codec import About, dumps, loads  # noqa: E402
from reticule.engine import Model  # noqa: E402
from reticule.engine.operands import operand_of  # noqa: E402
from reticule.errors import ModelError  # noqa: E402
from reticule.forms import (  # noqa: E402
    Codebook,
    Dense,
    Factored,
    Form,
    Packed,
    Quantised,
    Sparse,
)
from reticule.graph import Graph, Node  # noqa: E402
from reticule.methods import METHODS, Context  # noqa: E402
from reticule.methods.factor.twins import FactoredTwin  # noqa: E402
from reticule.tuning.twins import twin_of  # noqa: E402


def normal(*shape: int, seed: int = 0) -> Dense:
    return Dense(np.random.default_rng(seed).normal(size=shape).astype("f4"))


def mlp_of(form: Form) -> Packed:
    outputs, inputs = form.shape
    node = Node("Gemm", "fc", ("x", "w"), ("y",))
    return Packed(Graph({"x": (inputs,)}, ("y",), (node,), {"w": (outputs, inputs)}), {"w": form})


# The form -------------------------------------------------------------------------------------


def test_a_factored_form_is_the_product_of_its_factors() -> None:
    rows, core, columns = normal(6, 3), normal(3, 2, 3, 5, seed=1), normal(4, 2, seed=2)
    form = Factored(rows, core, columns)
    expected = np.einsum(
        "oa,abyx,ib->oiyx", *(part.dense().astype("f8") for part in (rows, core, columns))
    )
    np.testing.assert_allclose(form.dense(), expected, rtol=1e-6, atol=1e-6)
    assert (form.shape, form.name, form.size) == ((6, 4, 3, 5), "factored3x2", 360)
    assert form.macs == form.multiplications() == 18 + 90 + 8
    assert form.multiplications(2) == form.size == form.nonzero
    assert form.bits == 32 * form.macs
    np.testing.assert_array_equal(form.restored(2, 5), form.dense().reshape(6, -1)[2:5])


def test_names_tell_the_forms_of_the_factors() -> None:
    half, grid = Dense(np.ones((4, 2), "f2")), Quantised(np.ones((2, 3), int), 0.5)
    assert Factored(half, grid).name == f"factored2({half.name}, {grid.name})"
    assert Factored(grid, Quantised(np.ones((3, 5), int), 0.5)).name == f"factored3({grid.name})"


def test_weights_of_sparse_factors_are_zero_where_nothing_meets() -> None:
    rows = Sparse.keep(np.ones((4, 2), "f4"), np.array([[1, 0], [1, 0], [0, 1], [0, 0]]))
    core = Sparse.keep(np.ones((2, 3), "f4"), np.array([[1, 1, 0], [0, 0, 1]]))
    form = Factored(rows, core)
    assert form.nonzero == np.count_nonzero(form.dense()) == 5
    assert form.macs == 6
    assert Factored(normal(4, 0), normal(0, 3)).nonzero == 0


@pytest.mark.parametrize(
    "parts",
    [
        (normal(4), normal(4, 3)),
        (normal(4, 2), normal(3, 3)),
        (normal(4, 2), normal(2, 3), normal(5, 2)),
        (normal(4, 2), normal(2, 3), normal(5, 3, 1)),
        (normal(4, 2, 2), normal(2, 3)),
        (Dense(np.full((2, 2), 1e20, "f4")), Dense(np.full((2, 2), 1e19, "f4"))),
    ],
)
def test_factors_that_do_not_fit_are_refused(parts: tuple[Form, ...]) -> None:
    with pytest.raises(ValueError, match=r"factors of|a core of|factors are so large"):
        Factored(*parts)


def test_factors_cannot_lie_under_a_mask() -> None:
    form = Factored(normal(1, 1), normal(1, 5))
    assert loads(dumps(packed_of({"w": form}), About())).packed.forms["w"].name == form.name
    with pytest.raises(ModelError, match="rank of 70000"):
        dumps(packed_of({"w": Factored(normal(1, 70_000), normal(70_000, 1))}), About())


def test_the_engine_never_restores_a_linear_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    form = Factored(normal(40, 3), normal(3, 3), normal(50, 3))
    x = normal(7, 50, seed=4).dense()
    monkeypatch.setattr(Factored, "restored", None)
    monkeypatch.setattr(Factored, "dense", None)
    found = Model(mlp_of(form))(x)
    expected = x @ form.columns.dense() @ form.core.dense().T @ form.rows.dense().T
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert operand_of(form).nbytes == 4 * (120 + 9 + 150)


def test_the_engine_never_restores_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    form = Factored(normal(8, 3), normal(3, 2, 3, 3), normal(6, 2))
    node = Node("Conv", "c", ("x", "w"), ("y",), {"pads": (1, 1, 1, 1), "strides": (2, 2)})
    graph = Graph({"x": (6, 9, 9)}, ("y",), (node,), {"w": form.shape})
    x = normal(2, 6, 9, 9, seed=3).dense()
    weights = torch.from_numpy(form.dense().copy())
    expected = torch.nn.functional.conv2d(torch.from_numpy(x.copy()), weights, None, 2, 1)
    monkeypatch.setattr(Factored, "restored", None)
    monkeypatch.setattr(Factored, "dense", None)
    np.testing.assert_allclose(Model(Packed(graph, {"w": form}))(x), expected, atol=1e-4)


# Training -------------------------------------------------------------------------------------


def test_twins_of_factored_forms_restore_them() -> None:
    for name, form in factored_forms().forms.items():
        if isinstance(form, Factored):
            twin = twin_of(form)
            np.testing.assert_allclose(
                twin.tensor().detach().numpy(), form.dense(), rtol=1e-5, atol=1e-5, err_msg=name
            )
            assert twin.form().name == form.name


def test_every_free_factor_is_trained() -> None:
    mask = np.array([[1, 0], [0, 1], [1, 0]])
    form = Factored(normal(4, 3), Sparse.keep(np.ones((3, 2), "f4"), mask), normal(5, 2))
    twin = twin_of(form)
    assert isinstance(twin, FactoredTwin)
    twin.tensor().square().sum().backward()
    with torch.no_grad():
        for leaf in twin.parameters():
            assert leaf.grad is not None and leaf.grad.abs().sum() > 0
            leaf -= 0.01 * leaf.grad
    trained = twin.form()
    assert trained.name == form.name and trained.shape == form.shape
    np.testing.assert_array_equal(trained.core.mask(), mask)
    assert not np.array_equal(trained.rows.dense(), form.rows.dense())


# Methods that act on factors ------------------------------------------------------------------


def applied(method: str, form: Form, **parameters: object) -> tuple[Form, dict[str, str]]:
    packed = mlp_of(form)
    network = packed.network()
    outcome = METHODS[method](**parameters).apply(packed, Context(network))
    return outcome.packed.forms["w"], dict(outcome.skipped)


def test_half_precision_halves_each_factor() -> None:
    core = Sparse.keep(normal(2, 9).dense(), np.arange(18).reshape(2, 9) % 2)
    found, skipped = applied("half-precision", Factored(normal(8, 2), core))
    assert found.rows.values.dtype == np.float16 and not skipped
    assert found.core.values.values.dtype == np.float16
    grid = Quantised(np.ones((2, 9), int), 1.0)
    found, skipped = applied("half-precision", Factored(normal(8, 2), grid))
    assert found.rows.values.dtype == np.float16 and found.core is grid
    same, skipped = applied("half-precision", found)
    assert isinstance(same.core, Quantised) and not skipped
    form = Factored(Quantised(np.ones((8, 2), int), 1.0), grid)
    assert applied("half-precision", form)[1] == {"w": f"in the form {form.name}"}


def test_each_factor_shares_values_of_its_own() -> None:
    form = Factored(normal(80, 4), normal(4, 90, seed=1))
    found, _ = applied("weight-sharing", form, linear_bits=3)
    assert all(isinstance(part, Codebook) for part in found.factors)
    assert found.rows.centroids.shape == found.core.centroids.shape == (8,)
    tables = [part.centroids.dense().tolist() for part in found.factors]
    assert tables[0] != tables[1]
    masked = [Sparse.keep(part.dense(), np.ones(part.shape)) for part in form.factors]
    two, _ = applied("weight-sharing", Factored(*masked))
    assert isinstance(two.rows.values, Codebook)
    assert loads(dumps(mlp_of(two), About())).packed.forms["w"].name == two.name
    three = Factored(*masked, Sparse.keep(np.eye(90, dtype="f4"), np.eye(90)))
    assert "too many forms" in applied("weight-sharing", three)[1]["w"]


def test_each_factor_is_quantised_with_a_step_of_its_own() -> None:
    small = Dense(0.01 * normal(4, 90, seed=1).dense())
    form = Factored(normal(80, 4), small)
    found, _ = applied("quantise-values", form, bits=8)
    assert found.rows.step > 10 * found.core.step
    np.testing.assert_allclose(found.dense(), form.dense(), atol=0.003)
    assert "factors already" in applied("quantise-values", found)[1]["w"]


def test_trellis_quantisation_leaves_factors_alone() -> None:
    form = Factored(normal(8, 2), normal(2, 9))
    assert applied("trellis-quantisation", form)[1]["w"] == f"already in the form {form.name}"
