"""Weights in run form: every form multiplies like its dense weights, and stays small."""

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reticule.engine import Model
from reticule.engine.kernels import linear
from reticule.engine.operands import BLOCK_BYTES, FormOperand, operand_of
from reticule.engine.operands.blocks import StripsOperand
from reticule.forms import (
    Codebook,
    Common,
    Dense,
    Factored,
    Form,
    Hashed,
    Packed,
    Quantised,
    Scaled,
    Sparse,
    Spectral,
)
from reticule.graph import Graph, Node
from reticule.graph.shapes import window


@dataclass(frozen=True, eq=False)
class Doubled(Form):
    """A form that the engine has never heard of."""

    half: Form

    @property
    def shape(self):
        return self.half.shape

    name = "doubled"
    nonzero = bits = 0

    def dense(self):
        return 2 * self.half.dense()


def codebook(rng, shape, k):
    table = Dense(rng.standard_normal(k).astype("f4"))
    return Codebook(rng.integers(0, k, shape).astype("u2"), table)


def mask_of(rng, shape):
    """About a third kept, with some rows that keep nothing."""
    mask = rng.random(shape) < 0.35
    mask[rng.random(shape[0]) < 0.3] = False
    return mask


def sparse(rng, shape, values):
    mask = mask_of(rng, shape)
    return Sparse.at(mask, values(rng, (int(mask.sum()),)))


def dense(rng, shape, kind="f4"):
    return Dense(rng.standard_normal(shape).astype(kind))


def quantised(rng, shape):
    return Quantised(np.rint(3 * rng.standard_normal(shape)).astype("i4"), 0.3)


def spectral(form):
    """Coefficients of kernels; a linear layer has none."""
    return Spectral(form) if len(form.shape) == 4 else form


def hashed(rng, shape):
    size = int(np.prod(shape))
    return Hashed(shape, 5, (-(-size // 3),), quantised(rng, (-(-size // 3),)))


def strips(rng, shape, values):
    """Pruned by blocks of four rows and two columns of channels."""
    mask = rng.random((-(-shape[0] // 4), -(-shape[1] // 2), *shape[2:])) < 0.4
    mask = mask.repeat(4, 0).repeat(2, 1)[: shape[0], : shape[1]]
    return Sparse.at(mask, values(rng, (int(mask.sum()),)))


def common(rng, shape, residual):
    """Kernels with common parts; a linear layer has none."""
    if len(shape) != 4:
        return residual
    count = int(rng.integers(1, shape[0] * shape[1] + 1))
    labels = rng.integers(0, count, shape[:2])
    return Common(labels, sparse(rng, (count, *shape[2:]), quantised), residual)


def factored(rng, shape, values, columns=True):
    """Thin factors in a form of their own."""
    rank, second = (int(rank) for rank in rng.integers(0, 4, 2))
    if not columns:
        return Factored(values(rng, (shape[0], rank)), values(rng, (rank, *shape[1:])))
    core = values(rng, (rank, second, *shape[2:]))
    return Factored(values(rng, (shape[0], rank)), core, values(rng, (shape[1], second)))


MAKERS = {
    "factored": lambda rng, shape: factored(rng, shape, dense),
    "factored quantised": lambda rng, shape: factored(rng, shape, quantised, columns=False),
    "factored sparse": lambda rng, shape: factored(
        rng, shape, lambda rng, shape: sparse(rng, shape, dense)
    ),
    "factored twice": lambda rng, shape: factored(
        rng, shape, lambda rng, shape: factored(rng, shape, dense)
    ),
    "factored frequencies": lambda rng, shape: factored(
        rng, shape, lambda rng, shape: spectral(sparse(rng, shape, quantised))
    ),
    "common": lambda rng, shape: common(rng, shape, quantised(rng, shape)),
    "common sparse": lambda rng, shape: common(rng, shape, sparse(rng, shape, quantised)),
    "spectral common": lambda rng, shape: spectral(MAKERS["common sparse"](rng, shape)),
    "hashed": hashed,
    "scaled": lambda rng, shape: Scaled(quantised(rng, shape), dense(rng, shape[:1], "f2")),
    "scaled sparse": lambda rng, shape: Scaled(
        sparse(rng, shape, quantised), dense(rng, shape[:1])
    ),
    "spectral hashed": lambda rng, shape: spectral(hashed(rng, shape)),
    "sparse hashed": lambda rng, shape: sparse(rng, shape, hashed),
    "quantised": quantised,
    "sparse quantised": lambda rng, shape: sparse(rng, shape, quantised),
    "spectral": lambda rng, shape: spectral(quantised(rng, shape)),
    "spectral sparse": lambda rng, shape: spectral(sparse(rng, shape, quantised)),
    "dense": dense,
    "float16": lambda rng, shape: dense(rng, shape, "f2"),
    "codebook16": lambda rng, shape: codebook(rng, shape, 16),
    "codebook300": lambda rng, shape: codebook(rng, shape, 300),
    "sparse": lambda rng, shape: sparse(rng, shape, dense),
    "strips": lambda rng, shape: strips(rng, shape, dense),
    "strips codebook16": lambda rng, shape: strips(rng, shape, MAKERS["codebook16"]),
    "strips codebook300": lambda rng, shape: strips(rng, shape, MAKERS["codebook300"]),
    "strips quantised": lambda rng, shape: strips(rng, shape, quantised),
    "sparse float16": lambda rng, shape: sparse(rng, shape, MAKERS["float16"]),
    "sparse codebook16": lambda rng, shape: sparse(rng, shape, MAKERS["codebook16"]),
    "sparse codebook300": lambda rng, shape: sparse(rng, shape, MAKERS["codebook300"]),
    "sparse of unknown": lambda rng, shape: sparse(rng, shape, lambda r, s: Doubled(dense(r, s))),
    "unknown": lambda rng, shape: Doubled(dense(rng, shape)),
}


def layer(op, form, image_shape, attributes=None, bias=None, **options):
    """A network of one layer."""
    forms = {"w": form} if bias is None else {"w": form, "b": Dense(bias)}
    node = Node(op, "layer", ("x", *forms), ("y",), attributes or {})
    graph = Graph({"x": image_shape}, ("y",), (node,), {n: f.shape for n, f in forms.items()})
    return Model(Packed(graph, forms), **options)


def convolved(x, weight, bias, strides, dilations, pads, group):
    """Convolution straight from its definition, in float64."""
    top, left, bottom, right = pads
    x = np.pad(x.astype("f8"), ((0, 0), (0, 0), (top, bottom), (left, right)))
    out_channels, per_group, kh, kw = weight.shape
    height, width = (
        window(x.shape[2 + i], weight.shape[2 + i], strides[i], 0, 0, dilations[i])
        for i in range(2)
    )
    out = np.zeros((len(x), out_channels, height, width))
    for m in range(out_channels):
        first = m // (out_channels // group) * per_group
        for ky in range(kh):
            for kx in range(kw):
                y0, x0 = ky * dilations[0], kx * dilations[1]
                seen = x[
                    :,
                    first : first + per_group,
                    y0 : y0 + (height - 1) * strides[0] + 1 : strides[0],
                    x0 : x0 + (width - 1) * strides[1] + 1 : strides[1],
                ]
                out[:, m] += np.einsum("nchw,c->nhw", seen, weight[m, :, ky, kx].astype("f8"))
    return out + bias[:, None, None]


def assert_close(found, expected, tolerance=1e-5):
    assert found.dtype == np.float32 and found.shape == expected.shape
    scale = np.abs(expected).max(initial=1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@st.composite
def convolutions(draw):
    group = draw(st.sampled_from([1, 1, 2, 3]))
    per_group = draw(st.sampled_from([1, 1, 2, 3]))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(2))
    dilations = tuple(draw(st.integers(1, 3)) for _ in range(2))
    pads = tuple(draw(st.integers(0, 4)) for _ in range(4))
    least = [max(1, dilations[i] * (kernel[i] - 1) + 1 - pads[i] - pads[i + 2]) for i in range(2)]
    return {
        "shape": (group * draw(st.integers(1, 4)), per_group, *kernel),
        "image": (group * per_group, *(n + draw(st.integers(0, 9)) for n in least)),
        "attributes": {
            "group": group,
            "strides": tuple(draw(st.integers(1, 3)) for _ in range(2)),
            "dilations": dilations,
            "pads": pads,
        },
        "images": draw(st.integers(0, 3)),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


@pytest.mark.parametrize("kind", MAKERS)
@settings(max_examples=30, deadline=None)
@given(case=convolutions(), threads=st.integers(1, 3))
def test_convolution_equals_its_definition(kind, case, threads):
    rng = np.random.default_rng(case["seed"])
    form = MAKERS[kind](rng, case["shape"])
    bias = rng.standard_normal(case["shape"][0]).astype("f4")
    x = rng.standard_normal((case["images"], *case["image"])).astype("f4")
    model = layer("Conv", form, case["image"], case["attributes"], bias, threads=threads)
    assert_close(model(x), convolved(x, form.dense(), bias, **case["attributes"]))


@pytest.mark.parametrize("kind", MAKERS)
@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(0, 40),
    columns=st.integers(0, 40),
    lead=st.lists(st.integers(0, 9), min_size=1, max_size=2),
    seed=st.integers(0, 2**32 - 1),
)
def test_linear_layer_equals_a_matrix_product(kind, rows, columns, lead, seed):
    rng = np.random.default_rng(seed)
    form = MAKERS[kind](rng, (rows, columns))
    bias = rng.standard_normal(rows).astype("f4")
    x = rng.standard_normal((*lead, columns)).astype("f4")
    expected = x.astype("f8") @ form.dense().astype("f8").T + bias
    assert_close(layer("Gemm", form, (*lead[1:], columns), bias=bias)(x), expected)


@pytest.mark.parametrize("kind", MAKERS)
def test_small_scratch_changes_nothing(kind, monkeypatch):
    """Convolutions cut into a few positions at a time, linear layers into a few rows."""
    monkeypatch.setattr(linear, "COLUMN_BYTES", 2000)
    monkeypatch.setattr("reticule.engine.operands.BLOCK_BYTES", 300)
    rng = np.random.default_rng(1)
    form, bias = MAKERS[kind](rng, (6, 2, 3, 3)), rng.standard_normal(6).astype("f4")
    x = rng.standard_normal((3, 4, 11, 7)).astype("f4")
    settings_ = {"group": 2, "strides": (2, 1), "dilations": (1, 2), "pads": (1, 2, 0, 1)}
    expected = convolved(x, form.dense(), bias, **settings_)
    assert_close(layer("Conv", form, (4, 11, 7), settings_, bias)(x), expected)
    form = MAKERS[kind](rng, (17, 23))
    x = rng.standard_normal((5, 23)).astype("f4")
    assert_close(layer("Gemm", form, (23,))(x), x.astype("f8") @ form.dense().T)


@pytest.mark.parametrize("kind", MAKERS)
def test_answers_do_not_depend_on_threads(kind):
    rng = np.random.default_rng(2)
    form = MAKERS[kind](rng, (64, 32, 3, 3))
    x = rng.standard_normal((2, 32, 20, 20)).astype("f4")
    one, four = (layer("Conv", form, (32, 20, 20), threads=t)(x) for t in (1, 4))
    np.testing.assert_array_equal(one, four)


def test_more_than_65536_columns():
    rng = np.random.default_rng(3)
    form = sparse(rng, (5, 70_001), MAKERS["codebook16"])
    assert form.columns.dtype == np.uint32
    x = rng.standard_normal((2, 70_001)).astype("f4")
    assert_close(layer("Gemm", form, (70_001,))(x), x.astype("f8") @ form.dense().T)


def test_operands_share_the_arrays_of_their_form():
    rng = np.random.default_rng(4)
    for kind in ("dense", "float16"):
        form = MAKERS[kind](rng, (8, 9))
        assert np.shares_memory(operand_of(form).values, form.values)
        assert operand_of(form).nbytes == form.values.nbytes
    form = MAKERS["codebook16"](rng, (8, 9))
    assert np.shares_memory(operand_of(form).indices, form.indices)
    assert operand_of(form).nbytes == 72 + 64
    form = MAKERS["sparse codebook16"](rng, (80, 90))
    operand = operand_of(form)
    assert np.shares_memory(operand.values, form.values.indices)
    assert operand.nbytes == form.indptr.nbytes + 3 * form.columns.size + 64
    form = MAKERS["unknown"](rng, (8, 9))
    assert isinstance(operand_of(form), FormOperand) and operand_of(form).nbytes == 4 * 72


def test_weights_used_as_plain_values():
    """A tensor in any form may also be added, concatenated or multiplied."""
    rng = np.random.default_rng(5)
    for make in MAKERS.values():
        form = make(rng, (6, 7))
        graph = Graph(
            {"x": (6, 6)},
            ("y",),
            (Node("MatMul", "m", ("x", "w"), ("p",)), Node("Add", "a", ("p", "w"), ("y",))),
            {"w": (6, 7)},
        )
        x = rng.standard_normal((3, 6, 6)).astype("f4")
        assert_close(Model(Packed(graph, {"w": form}))(x), x @ form.dense() + form.dense())


@pytest.mark.parametrize("batch", [1, 3, 40])
def test_strips_are_held_and_multiplied_four_rows_together(batch):
    rng = np.random.default_rng(8)
    form = strips(rng, (24, 30), MAKERS["codebook16"])
    operand = operand_of(form)
    assert isinstance(operand, StripsOperand)
    assert operand.nbytes < form.indptr.nbytes + form.columns.nbytes / 3 + form.columns.size + 64
    np.testing.assert_array_equal(operand.matrix(3, 17), form.dense()[3:17])
    x = rng.standard_normal((batch, 30)).astype("f4")
    assert_close(operand.linear(x, 1), x.astype("f8") @ form.dense().T)


@pytest.mark.parametrize("groups", [1, 2, 3])  # of three, strips lie across the borders
def test_strips_and_groups_of_channels(groups):
    rng = np.random.default_rng(9)
    form = strips(rng, (24 if groups < 3 else 18, 4, 3, 3), dense)
    node = Node("Conv", "c", ("x", "w"), ("y",), {"group": groups})
    graph = Graph({"x": (4 * groups, 9, 9)}, ("y",), (node,), {"w": form.shape})
    x = rng.standard_normal((2, 4 * groups, 9, 9)).astype("f4")
    found = Model(Packed(graph, {"w": form}))(x)
    assert_close(found, Model(Packed(graph, {"w": Dense(form.dense())}))(x))


@pytest.fixture(scope="module")
def fc6():
    """The largest layer of AlexNet at the density of Deep Compression, 16 shared weights."""
    rng = np.random.default_rng(6)
    mask = rng.random((4096, 9216), "f4") < 0.09
    return Sparse.at(mask, codebook(rng, (int(mask.sum()),), 16))


def peak_during(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_a_large_sparse_layer_runs_in_its_packed_form(batch, fc6):
    model = layer("Gemm", fc6, (9216,))
    assert model.weight_bytes <= 12 << 20
    x = np.ones((batch, 9216), "f4")
    assert peak_during(lambda: model(x)) < 4 << 20


def test_a_large_codebook_layer_is_expanded_in_blocks():
    form = codebook(np.random.default_rng(7), (4096, 9216), 16)
    model = layer("Gemm", form, (9216,))
    assert model.weight_bytes == 4096 * 9216 + 64
    x = np.ones((1, 9216), "f4")
    assert peak_during(lambda: model(x)) < 3 * BLOCK_BYTES


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (7, 7), (2, 6), (32, 1)])
def test_the_engine_restores_kernels_to_the_bit(kernel):
    rng = np.random.default_rng(3)
    form = Spectral(dense(rng, (5, 3, *kernel)))
    assert operand_of(form).dense().tobytes() == form.dense().tobytes()
