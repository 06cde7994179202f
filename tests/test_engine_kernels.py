"""Operators: each against PyTorch, the native kernels against numpy, pools against ONNX Runtime."""

from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from reticule import _native
from reticule.engine import Model
from reticule.engine.kernels import KERNELS, WEIGHTED
from reticule.errors import ModelError
from reticule.forms import Dense, Packed
from reticule.graph import Graph, Node
from reticule.graph.operators import OPERATORS
from reticule.graph.shapes import window

# What each operator is compared on: attributes, shapes of inputs (batch first), shapes of
# tensors, and the same in PyTorch, given torch, torch.nn.functional and all of the inputs.
IMAGE = (3, 4, 7, 6)
CASES = {
    "Conv": [
        (
            {"strides": (2, 1), "pads": (1, 2, 1, 2), "dilations": (1, 2), "group": 2},
            [IMAGE],
            [(6, 2, 3, 3), (6,)],
            lambda t, f, x, w, b: f.conv2d(x, w, b, (2, 1), (1, 2), (1, 2), 2),
        ),
        (
            {"pads": (1, 1, 1, 1), "group": 4},
            [IMAGE],
            [(8, 1, 3, 3), (8,)],
            lambda t, f, x, w, b: f.conv2d(x, w, b, padding=1, groups=4),
        ),
        ({}, [IMAGE], [(5, 4, 1, 1)], lambda t, f, x, w: f.conv2d(x, w)),
    ],
    "Gemm": [({}, [(3, 5, 6)], [(2, 6), (2,)], lambda t, f, x, w, b: f.linear(x, w, b))],
    "MatMul": [
        ({}, [(3, 5, 6)], [(6, 2)], lambda t, f, x, w: x @ w),
        ({}, [(3, 5, 6), (3, 6, 4)], [], lambda t, f, a, b: a @ b),
    ],
    "BatchNormalization": [
        (
            {"epsilon": 1e-3},
            [IMAGE],
            [(4,)] * 4,
            lambda t, f, x, s, b, m, v: f.batch_norm(x, m, v, s, b, eps=1e-3),
        )
    ],
    "Relu": [({}, [IMAGE], [], lambda t, f, x: f.relu(x))],
    "LeakyRelu": [({"alpha": 0.3}, [IMAGE], [], lambda t, f, x: f.leaky_relu(x, 0.3))],
    "PRelu": [({}, [IMAGE], [(4, 1, 1)], lambda t, f, x, s: f.prelu(x, s.flatten()))],
    "Elu": [({"alpha": 0.7}, [IMAGE], [], lambda t, f, x: f.elu(x, 0.7))],
    "Clip": [
        ({"min": -0.5, "max": 0.7}, [IMAGE], [], lambda t, f, x: x.clamp(-0.5, 0.7)),
        ({"min": 0}, [IMAGE], [], lambda t, f, x: x.clamp(0)),
    ],
    "Sign": [({}, [IMAGE], [], lambda t, f, x: x.sign())],
    "Sigmoid": [({}, [IMAGE], [], lambda t, f, x: x.sigmoid())],
    "Tanh": [({}, [IMAGE], [], lambda t, f, x: x.tanh())],
    "HardSigmoid": [
        ({"alpha": 1 / 6}, [IMAGE], [], lambda t, f, x: f.hardsigmoid(x)),
    ],
    "HardSwish": [({}, [IMAGE], [], lambda t, f, x: f.hardswish(x))],
    "Softmax": [({"axis": 1}, [IMAGE], [], lambda t, f, x: f.softmax(x, 1))],
    "LogSoftmax": [({}, [IMAGE], [], lambda t, f, x: f.log_softmax(x, -1))],
    "MaxPool": [
        (
            {"kernel_shape": (3, 2), "strides": (2, 2), "pads": (1, 0, 1, 0), "ceil_mode": 1},
            [IMAGE],
            [],
            lambda t, f, x: f.max_pool2d(x, (3, 2), 2, (1, 0), ceil_mode=True),
        )
    ],
    "AveragePool": [
        (
            {
                "kernel_shape": (3, 3),
                "strides": (2, 2),
                "pads": (1, 1, 1, 1),
                "ceil_mode": 1,
                "count_include_pad": 1,
            },
            [IMAGE],
            [],
            lambda t, f, x: f.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
        )
    ],
    "GlobalAveragePool": [({}, [IMAGE], [], lambda t, f, x: x.mean((2, 3), keepdim=True))],
    "GlobalMaxPool": [({}, [IMAGE], [], lambda t, f, x: x.amax((2, 3), keepdim=True))],
    "ReduceMean": [
        ({"axes": (-1, 1), "keepdims": 0}, [IMAGE], [], lambda t, f, x: x.mean((1, 3))),
        ({"axes": (2,)}, [IMAGE], [], lambda t, f, x: x.mean(2, keepdim=True)),
    ],
    "Add": [
        ({}, [IMAGE, (3, 4, 1, 6)], [], lambda t, f, a, b: a + b),
        ({}, [IMAGE], [(7, 1)], lambda t, f, a, b: a + b),
    ],
    "Sub": [({}, [IMAGE, IMAGE], [], lambda t, f, a, b: a - b)],
    "Mul": [({}, [IMAGE, (3, 4, 1, 1)], [], lambda t, f, a, b: a * b)],
    "Div": [({}, [IMAGE], [(1,)], lambda t, f, a, b: a / b)],
    "Concat": [
        ({"axis": 1}, [IMAGE, (3, 2, 7, 6), IMAGE], [], lambda t, f, *x: t.cat(x, 1)),
    ],
    "Pad": [
        (
            {"pads": (0, 0, 1, 2, 0, 0, 3, -1), "value": 0.5},
            [IMAGE],
            [],
            lambda t, f, x: f.pad(x, (2, -1, 1, 3), value=0.5),
        ),
        (
            {"pads": (0, 0, 1, 2, 0, 0, 3, 0), "mode": "reflect"},
            [IMAGE],
            [],
            lambda t, f, x: f.pad(x, (2, 0, 1, 3), mode="reflect"),
        ),
        (
            {"pads": (0, 0, 1, 2, 0, 0, 3, 0), "mode": "edge"},
            [IMAGE],
            [],
            lambda t, f, x: f.pad(x, (2, 0, 1, 3), mode="replicate"),
        ),
    ],
    "Slice": [
        (
            {"starts": (1, -5), "ends": (2**31, -1), "axes": (1, -1), "steps": (2, 3)},
            [IMAGE],
            [],
            lambda t, f, x: x[:, 1::2, :, -5:-1:3],
        )
    ],
    "Reshape": [({"shape": (0, 2, -1)}, [IMAGE], [], lambda t, f, x: x.reshape(3, 2, -1))],
    "Flatten": [
        ({}, [IMAGE], [], lambda t, f, x: x.flatten(1)),
        ({"axis": -4}, [IMAGE], [], lambda t, f, x: x.reshape(3, 1, -1)),
    ],
    "Transpose": [({"perm": (0, 3, 1, 2)}, [IMAGE], [], lambda t, f, x: x.permute(0, 3, 1, 2))],
    "LRN": [
        (
            {"size": 3, "alpha": 0.2, "beta": 0.75, "bias": 2.0},
            [IMAGE],
            [],
            lambda t, f, x: f.local_response_norm(x, 3, 0.2, 0.75, 2.0),
        ),
        (
            {"size": 5, "alpha": 0.2, "beta": 0.6, "bias": 1.0},
            [(2, 7, 300)],
            [],
            lambda t, f, x: f.local_response_norm(x, 5, 0.2, 0.6, 1.0),
        ),
    ],
    "Identity": [({}, [IMAGE], [], lambda t, f, x: x)],
}
ALL = [(op, case) for op, cases in CASES.items() for case in cases]


def one_node(op, attributes, inputs, tensors=()):
    """The answer of a network of one operator."""
    names = [f"x{i}" for i in range(len(inputs))], [f"w{i}" for i in range(len(tensors))]
    node = Node(op, "node", (*names[0], *names[1]), ("y",), attributes)
    weights = dict(zip(names[1], tensors, strict=True))
    graph = Graph(
        {n: x.shape[1:] for n, x in zip(names[0], inputs, strict=True)},
        ("y",),
        (node,),
        {n: w.shape for n, w in weights.items()},
    )
    return Model(Packed(graph, {n: Dense(w) for n, w in weights.items()}))(*inputs)


def normal(rng, shape):
    return rng.standard_normal(shape).astype("f4")


def test_every_operator_has_a_kernel_and_a_case():
    assert set(KERNELS) == set(OPERATORS) == set(CASES)
    assert set(WEIGHTED) <= set(KERNELS)


@pytest.mark.parametrize(("op", "case"), ALL, ids=[f"{op}-{i}" for i, (op, _) in enumerate(ALL)])
def test_operator_equals_pytorch(op, case):
    torch = pytest.importorskip("torch")
    attributes, shapes, weights, reference = case
    rng = np.random.default_rng(0)
    inputs = [2 * normal(rng, shape) for shape in shapes]
    tensors = [abs(normal(rng, shape)) + np.float32(0.1) for shape in weights]
    found = one_node(op, attributes, inputs, tensors)
    arguments = [torch.from_numpy(x) for x in (*inputs, *tensors)]
    expected = reference(torch, torch.nn.functional, *arguments).numpy()
    if op == "Flatten" and attributes:
        expected = expected.reshape(found.shape)  # images run one by one keep their own row
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_exponentials_do_not_overflow():
    x = np.array([[1e4, -1e4, 0.0, 88.0]], "f4")
    np.testing.assert_allclose(one_node("Softmax", {}, [x]), [[1, 0, 0, 0]])
    np.testing.assert_allclose(one_node("LogSoftmax", {}, [x]), x - 1e4)
    np.testing.assert_allclose(one_node("Sigmoid", {}, [x]), [[1, 0, 0.5, 1]], atol=1e-7)
    np.testing.assert_allclose(one_node("Elu", {}, [x]), [[1e4, -1, 0, 88]])
    assert one_node("Div", {}, [x, x])[0, 2] != one_node("Div", {}, [x, x])[0, 2]  # 0/0


def test_pad_refuses_what_cannot_be():
    x = np.zeros((1, 1, 3, 0), "f4")
    with pytest.raises(ModelError, match=r"'node'.*empty axis"):
        one_node("Pad", {"pads": (0, 0, 0, 1, 0, 0, 0, 1), "mode": "edge"}, [x])
    with pytest.raises(ModelError, match=r"'node'.*crops more"):
        one_node("Pad", {"pads": (0, 0, 5, 0, 0, 0, -6, 0)}, [np.zeros((1, 1, 3, 2), "f4")])


@st.composite
def pools(draw):
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(2))
    return {
        "shape": (
            *(draw(st.integers(0, 3)) for _ in "nc"),
            *(draw(st.integers(1, 12)) for _ in "hw"),
        ),
        "kernel_shape": kernel,
        "strides": tuple(draw(st.integers(1, 4)) for _ in range(2)),
        "pads": tuple(draw(st.integers(0, kernel[i % 2] - 1)) for i in range(4)),
        "ceil_mode": draw(st.integers(0, 1)),
        "dilations": tuple(draw(st.integers(1, 3)) for _ in range(2)),
    }


def pooled_size(case):
    try:
        return tuple(
            window(
                case["shape"][2 + i],
                case["kernel_shape"][i],
                case["strides"][i],
                case["pads"][i],
                case["pads"][2 + i],
                case["dilations"][i],
                bool(case["ceil_mode"]),
            )
            for i in range(2)
        )
    except ValueError:
        assume(False)


def windows(x, case, size, outside):
    """Every window of an image batch as numpy sees it: (N, C, h, w, kh, kw)."""
    top, left, _, _ = case["pads"]
    (kh, kw), (dh, dw), (sh, sw) = (case[k] for k in ("kernel_shape", "dilations", "strides"))
    tall = max(0, (size[0] - 1) * sh + (kh - 1) * dh + 1 - x.shape[2] - top)
    wide = max(0, (size[1] - 1) * sw + (kw - 1) * dw + 1 - x.shape[3] - left)
    widths = ((0, 0), (0, 0), (top, tall), (left, wide))
    padded = np.pad(x.astype("f8"), widths, constant_values=outside)
    seen = sliding_window_view(padded, ((kh - 1) * dh + 1, (kw - 1) * dw + 1), (2, 3))
    return seen[:, :, ::sh, ::sw, ::dh, ::dw][:, :, : size[0], : size[1]]


@settings(max_examples=150, deadline=None)
@given(case=pools(), threads=st.integers(1, 3), seed=st.integers(0, 99))
def test_native_windows_equal_numpy(case, threads, seed):
    size = pooled_size(case)
    x = normal(np.random.default_rng(seed), case["shape"])
    geometry = [case[k] for k in ("kernel_shape", "strides", "dilations", "pads")]
    out = np.full((*x.shape[:2], *size), np.nan, "f4")

    _native.max_pool(x, out, *geometry, threads)
    expected = windows(x, case, size, np.finfo("f4").min).max((-1, -2), initial=-np.inf)
    np.testing.assert_array_equal(out, expected)

    for counted in (False, True):
        _native.average_pool(x, out, *geometry, counted, threads)
        inside = np.ones_like(x)
        if counted:  # taps on the padding count; those behind it do not
            top, left, bottom, right = case["pads"]
            wide = {**case, "pads": (0, 0, 0, 0)}
            pad = ((0, 0), (0, 0), (top, bottom), (left, right))
            taps = windows(np.pad(inside, pad, constant_values=1), wide, size, 0)
        else:
            taps = windows(inside, case, size, 0)
        total = windows(x, case, size, 0).sum((-1, -2))
        expected = total / np.maximum(taps.sum((-1, -2)), 1)
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)

    positions = size[0] * size[1]
    first, last = sorted(np.random.default_rng(seed).integers(0, positions + 1, 2))
    columns = windows(x, case, size, 0).transpose(0, 1, 4, 5, 2, 3)
    columns = columns.reshape(len(x), -1 if columns.size else 0, positions)
    out = np.full((len(x), x.shape[1] * np.prod(geometry[0]), last - first), np.nan, "f4")
    _native.im2col(x, out, *geometry, int(first), size[1], threads)
    if out.size:
        np.testing.assert_array_equal(out, columns[:, :, first:last])


@settings(max_examples=60, deadline=None)
@given(case=pools(), counted=st.integers(0, 1), maximum=st.booleans())
def test_pools_equal_onnx_runtime(case, counted, maximum):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    attributes = {k: v for k, v in case.items() if k != "shape"}
    if not maximum:
        attributes["count_include_pad"] = counted
        case["dilations"] = (1, 1)
        del attributes["dilations"]
    assume(0 not in case["shape"])
    pooled_size(case)
    op = "MaxPool" if maximum else "AveragePool"
    x = normal(np.random.default_rng(0), case["shape"])
    value = partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, ["x"], ["y"], **attributes)],
        "pool",
        [value("x", shape=x.shape)],
        [value("y", shape=None)],
    )
    opset = [onnx.helper.make_opsetid("", 19)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (expected,) = session.run(None, {"x": x})
    np.testing.assert_allclose(one_node(op, attributes, [x]), expected, rtol=1e-5, atol=1e-6)


def test_native_kernels_check_sizes():
    rng = np.random.default_rng(0)
    x, table = normal(rng, (2, 3, 5, 5)), np.zeros(0, "f4")
    geometry = ((2, 2), (1, 1), (1, 1), (0, 0, 0, 0))
    wrong = np.empty((2, 4, 4, 4), "f4")
    with pytest.raises(ValueError, match="out does not fit"):
        _native.max_pool(x, wrong, *geometry, 1)
    with pytest.raises(ValueError, match="strides"):
        _native.max_pool(x, x.copy(), (2, 2), (0, 1), (1, 1), (0, 0, 0, 0), 1)
    with pytest.raises(TypeError):
        _native.max_pool(x.astype("f8"), wrong, *geometry, 1)
    with pytest.raises(TypeError):  # never a silent copy of an output
        _native.max_pool(x, np.empty((2, 3, 4, 8), "f4")[..., ::2], *geometry, 1)
    pointers, columns = np.array([0, 2, 1], "u4"), np.zeros(1, "u2")
    with pytest.raises(ValueError, match="descends"):
        _native.sparse_rows(
            pointers, columns, normal(rng, 1), table, normal(rng, (1, 3)), np.empty((1, 2), "f4"), 1
        )
    with pytest.raises(ValueError, match="table"):
        _native.lookup(np.zeros(3, "u1"), table, np.empty(3, "f4"))
