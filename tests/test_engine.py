"""The model and its plan: batches, several inputs and outputs, bad input, bounded memory."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reticule.codec import About, save
from reticule.data import Preprocessing
from reticule.engine import Model, plan
from reticule.engine.operands import operand_of
from reticule.errors import ModelError, ReticuleError
from reticule.forms import Codebook, Dense, Packed, Sparse
from reticule.graph import Graph, Network, Node


def small(seed=0):
    """Residual, grouped, strided, with two outputs; odd sizes."""
    rng = np.random.default_rng(seed)
    nodes = (
        Node("Conv", "stem", ("x", "stem.w", "stem.b"), ("a",), {"pads": (1, 1, 1, 1)}),
        Node("Relu", "relu", ("a",), ("b",)),
        Node("Conv", "mid", ("b", "mid.w"), ("c",), {"pads": (1, 1, 1, 1), "group": 2}),
        Node("Add", "join", ("b", "c"), ("d",)),
        Node("MaxPool", "pool", ("d",), ("e",), {"kernel_shape": (2, 2), "strides": (2, 2)}),
        Node("Flatten", "flat", ("e",), ("f",)),
        Node("Gemm", "fc", ("f", "fc.w", "fc.b"), ("scores",)),
        Node("GlobalAveragePool", "gap", ("d",), ("features",)),
    )
    shapes = {
        "stem.w": (4, 3, 3, 3),
        "stem.b": (4,),
        "mid.w": (4, 2, 3, 3),
        "fc.w": (5, 48),
        "fc.b": (5,),
    }
    graph = Graph({"x": (3, 9, 7)}, ("scores", "features"), nodes, shapes)
    tensors = {n: rng.standard_normal(s).astype("f4") for n, s in shapes.items()}
    return Network(graph, tensors).check()


def packed(network):
    """Convolutions sparse, the linear layer a codebook."""
    rng, forms = np.random.default_rng(1), {}
    for name in ("stem.w", "mid.w"):
        weights = network.tensors[name]
        forms[name] = Sparse.keep(weights, np.abs(weights) > 0.5)
    table = Dense(np.linspace(-1, 1, 8, dtype="f4"))
    forms["fc.w"] = Codebook(rng.integers(0, 8, (5, 48)).astype("u1"), table)
    return Packed.of(network).with_forms(forms)


def images(count, seed=2):
    return np.random.default_rng(seed).standard_normal((count, 3, 9, 7)).astype("f4")


def chain(*nodes, inputs, tensors=None, outputs=None):
    """A model of nodes given as (op, inputs, output, attributes)."""
    built = tuple(
        Node(op, f"n{i}", ins, (out,), attributes)
        for i, (op, ins, out, attributes) in enumerate(nodes)
    )
    tensors = tensors or {}
    graph = Graph(
        inputs, outputs or (nodes[-1][2],), built, {n: t.shape for n, t in tensors.items()}
    )
    return Model(Packed(graph, {n: Dense(t) for n, t in tensors.items()}))


def test_packed_and_restored_weights_give_the_same_answers():
    form = packed(small())
    found, restored = Model(form)(images(5)), Model(Packed.of(form.network()))(images(5))
    assert [y.shape for y in found] == [(5, 5), (5, 4, 1, 1)]
    for a, b in zip(found, restored, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize("together", [1, 3, 1000])
def test_answers_do_not_depend_on_the_batch(together, monkeypatch):
    model = Model(packed(small()))
    one_by_one = [model(x[None]) for x in images(8)]
    monkeypatch.setattr(plan, "BATCH_BYTES", together * 4 * (4 * 9 * 7 * 3 + 189))
    model = Model(packed(small()))
    for position, whole in enumerate(model(images(8))):
        alone = np.concatenate([y[position] for y in one_by_one])
        np.testing.assert_allclose(whole, alone, rtol=0, atol=1e-5 * np.abs(alone).max())


def test_empty_batch():
    scores, features = Model(packed(small()))(images(0))
    assert scores.shape == (0, 5) and features.shape == (0, 4, 1, 1)
    assert scores.dtype == features.dtype == np.float32


MIXING = {
    "mean over the batch": [("ReduceMean", ("x",), "y", {"axes": (0,)})],
    "softmax over the batch": [("Softmax", ("x",), "y", {"axis": 0})],
    "reshape for one image": [("Reshape", ("x",), "y", {"shape": (1, 12)})],
    "product of images": [
        ("Flatten", ("x",), "f", {}),
        ("Gemm", ("f", "f"), "y", {}),
    ],
    "batch moved to the end and back": [
        ("Transpose", ("x",), "t", {"perm": (1, 2, 0)}),
        ("ReduceMean", ("t",), "m", {"axes": (2,)}),
        ("Transpose", ("m",), "y", {"perm": (2, 0, 1)}),
    ],
    "slice of the batch": [
        ("Slice", ("x",), "y", {"starts": (0,), "ends": (2,), "axes": (0,), "steps": (1,)})
    ],
}


@pytest.mark.parametrize("nodes", MIXING.values(), ids=MIXING)
def test_images_are_never_mixed(nodes):
    model = chain(*nodes, inputs={"x": (3, 4)})
    x = np.random.default_rng(0).standard_normal((20, 3, 4)).astype("f4")
    alone = np.concatenate([model(image[None]) for image in x])
    np.testing.assert_array_equal(model(x), alone)


def test_several_inputs():
    model = chain(("Sub", ("a", "b"), "y", {}), inputs={"a": (2, 3), "b": (3,)})
    a, b = np.ones((4, 2, 3), "f4"), np.ones((4, 3), "f4")
    with pytest.raises(ModelError, match="2 inputs"):
        model(a)
    with pytest.raises(ModelError, match="4, 3 images"):
        model(a, b[:3])
    model = chain(("Sub", ("a", "b"), "y", {}), inputs={"a": (2, 3), "b": (2, 3)})
    np.testing.assert_array_equal(model(a, a), 0 * a)


def test_weights_computed_by_the_graph():
    """A convolution whose weight is the sum of two tensors, and a layer that is never used."""
    rng = np.random.default_rng(0)
    u, v = (rng.standard_normal((2, 3, 1, 1)).astype("f4") for _ in range(2))
    model = chain(
        ("Relu", ("x",), "unused", {}),
        ("Add", ("u", "v"), "w", {}),
        ("Conv", ("x", "w"), "y", {}),
        inputs={"x": (3, 4, 4)},
        tensors={"u": u, "v": v},
    )
    x = rng.standard_normal((2, 3, 4, 4)).astype("f4")
    expected = np.einsum("nchw,mc->nmhw", x, (u + v)[:, :, 0, 0])
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-5)


def test_layers_without_weights_or_channels():
    empty, bias = np.zeros((3, 0, 2, 2), "f4"), np.arange(3, dtype="f4")
    model = chain(
        ("Conv", ("x", "w", "b"), "y", {}),
        inputs={"x": (0, 4, 4)},
        tensors={"w": empty, "b": bias},
    )
    found = model(np.zeros((2, 0, 4, 4), "f4"))
    np.testing.assert_array_equal(found, np.broadcast_to(bias[:, None, None], (2, 3, 3, 3)))
    model = chain(("GlobalAveragePool", ("x",), "y", {}), inputs={"x": (2, 0, 4)})
    assert np.isnan(model(np.zeros((1, 2, 0, 4), "f4"))).all()


def test_every_slot_is_freed_once_after_its_last_use():
    form = packed(small())
    operands = {name: operand_of(f) for name, f in form.forms.items()}
    compiled = plan.compiled(form.graph, operands)
    freed = [slot for step in compiled.steps for slot in step.frees]
    written = {step.output for step in compiled.steps} | set(compiled.inputs)
    assert len(freed) == len(set(freed))
    assert set(freed) == written - set(compiled.outputs)
    for number, step in enumerate(compiled.steps):
        later = {slot for after in compiled.steps[number + 1 :] for slot in after.inputs}
        assert not later & set(step.frees)


def test_activations_of_a_deep_network_do_not_pile_up():
    nodes = [("Relu", (f"v{i}",), f"v{i + 1}", {}) for i in range(50)]
    model = chain(*nodes, inputs={"v0": (1 << 20,)})
    x = np.ones((4, 1 << 20), "f4")
    tracemalloc.start()
    model(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < x.nbytes + 6 * (plan.BATCH_BYTES + x[0].nbytes)


def test_inputs_are_neither_written_to_nor_given_back():
    model = chain(("Identity", ("x",), "y", {}), inputs={"x": (3,)})
    x = np.ones((2, 3), "f4")
    y = model(x)
    y[:] = 7
    np.testing.assert_array_equal(x, 1)
    before = images(3)
    Model(packed(small()))(before)
    np.testing.assert_array_equal(before, images(3))


@pytest.mark.parametrize("kind", ["f2", "f8"])
def test_other_floats_are_converted(kind):
    model, x = Model(packed(small())), images(2).astype(kind)
    np.testing.assert_array_equal(model(x)[0], model(x.astype("f4"))[0])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((3, 9, 7), "f4"), r"expected shape \(N, 3, 9, 7\).*add a batch axis"),
        (np.zeros((1, 3, 9, 8), "f4"), r"got \(1, 3, 9, 8\); resize"),
        (np.zeros((), "f4"), r"got \(\)"),
        (np.zeros((1, 3, 9, 7), "u1"), "uint8; use predict_images"),
        (np.zeros((1, 3, 9, 7), "c8"), "complex64"),
        (np.full((1, 3, 9, 7), "pixel"), "floating-point"),
        ([[1.0], [1.0, 2.0]], "not an array"),
        (None, "object"),
    ],
)
def test_input_that_does_not_fit_is_named(bad, message):
    with pytest.raises(ModelError, match=message) as caught:
        Model(packed(small()))(bad)
    assert "\n" not in str(caught.value)


def test_pixels_are_preprocessed_as_the_file_says():
    about = About(Preprocessing(255.0, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)), labels=("a", "b"))
    model = Model(packed(small()), about)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 9, 7), dtype="u1")
    expected = model(about.preprocessing.apply(pixels))
    for a, b in zip(model.predict_images(pixels), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.labels == ("a", "b")
    with pytest.raises(ModelError, match="expected uint8"):
        model.predict_images(pixels.astype("f4"))
    with pytest.raises(ModelError, match="expected shape"):
        model.predict_images(pixels[:, :, :5])
    with pytest.raises(ModelError, match="no preprocessing"):
        Model(packed(small())).predict_images(pixels)
    assert Model(packed(small())).labels == ()


def test_loading_a_file(tmp_path):
    form, path = packed(small()), tmp_path / "small.ret"
    save(path, form, About(Preprocessing()))
    model = Model.load(path, threads=1)
    for a, b in zip(model(images(3)), Model(form, threads=1)(images(3)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.input_shape == (3, 9, 7) and model.threads == 1
    assert model.weight_bytes == Model(form).weight_bytes


@pytest.mark.parametrize(
    ("nodes", "inputs", "message"),
    [
        ([("Relu", ("x",), "y", {})], {"x": (1 << 20, 1 << 20)}, "'x'.*limit"),
        (
            [("Pad", ("x",), "y", {"pads": (0, 0, 0, 0, 2**30, 2**30)})],
            {"x": (1, 1)},
            "'y'.*limit",
        ),
        (
            [("Add", ("a", "b"), "y", {})],
            {"a": (1 << 17, 1), "b": (1, 1 << 17)},
            "'y'.*limit",
        ),
        ([("Relu", ("x",), "y", {})], {"x": (-3,)}, "impossible"),
        ([("ReduceMean", ("x",), "y", {"keepdims": 0})], {"x": (3,)}, "'y'.*batch"),
        ([("LeakyRelu", ("x",), "y", {"alpha": 10**400})], {"x": (3,)}, "'n0'.*'alpha'"),
    ],
)
def test_graphs_that_cannot_be_run_are_refused_before_they_run(nodes, inputs, message):
    tracemalloc.start()
    with pytest.raises(ModelError, match=message):
        chain(*nodes, inputs=inputs)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_forms_must_match_the_graph():
    form = packed(small())
    with pytest.raises(ModelError, match=r"'fc.b'"):
        Model(form.with_forms({"fc.b": Dense(np.zeros(6, "f4"))}))
    with pytest.raises(ModelError, match=r"'odd'"):
        Model(form.with_forms({"odd": Dense(np.zeros(6, "f4"))}))
    with pytest.raises(ModelError, match="threads"):
        Model(form, threads=0)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_well_formed_chain_runs_or_is_refused(data):
    """Random operators with random numbers: answers of the planned shape, or our error."""
    number = st.one_of(st.integers(-3, 9), st.sampled_from([2**31, -(2**31), 60]))
    numbers = st.lists(number, min_size=0, max_size=8).map(tuple)
    few = st.lists(st.integers(0, 4), min_size=2, max_size=4).map(tuple)
    attributes = {
        "Pad": lambda: {"pads": data.draw(numbers), "mode": data.draw(MODES)},
        "Slice": lambda: {k: data.draw(numbers) for k in ("starts", "ends", "axes", "steps")},
        "Reshape": lambda: {"shape": data.draw(numbers)},
        "Transpose": lambda: {"perm": tuple(data.draw(st.permutations(range(4))))},
        "ReduceMean": lambda: {
            "axes": data.draw(numbers),
            "keepdims": data.draw(st.integers(0, 1)),
        },
        "MaxPool": lambda: {"kernel_shape": data.draw(few)[:2], "pads": data.draw(few)},
        "AveragePool": lambda: {"kernel_shape": data.draw(few)[:2], "pads": data.draw(few)},
        "LRN": lambda: {"size": data.draw(st.sampled_from([1, 3, 2**31]))},
        "Softmax": lambda: {"axis": data.draw(st.integers(-4, 3))},
        "GlobalMaxPool": dict,
        "Flatten": lambda: {"axis": data.draw(st.integers(-4, 4))},
    }
    ops = data.draw(st.lists(st.sampled_from(sorted(attributes)), min_size=1, max_size=4))
    nodes = [(op, (f"v{i}",), f"v{i + 1}", attributes[op]()) for i, op in enumerate(ops)]
    image = data.draw(st.tuples(*(st.integers(0, 5) for _ in range(3))))
    x = np.random.default_rng(0).standard_normal((3, *image)).astype("f4")
    try:
        model = chain(*nodes, inputs={"v0": image})
        found = model(x)
    except ReticuleError as refused:
        assert "\n" not in str(refused)
    else:
        assert found.shape == (3, *model.graph.shapes()[f"v{len(ops)}"][1:])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[1:2], model(x[1:2]), rtol=1e-4, atol=1e-6)


MODES = st.sampled_from(["constant", "reflect", "edge"])

LEAN = """
import sys
import numpy as np
from reticule.engine import Model
from reticule.forms import Packed, Sparse
from reticule.graph import Graph, Node
weight = np.ones((2, 3), "f4")
graph = Graph({"x": (3,)}, ("y",), (Node("Gemm", "fc", ("x", "w"), ("y",)),), {"w": (2, 3)})
model = Model(Packed(graph, {"w": Sparse.keep(weight, weight > 0)}))
assert model(np.ones((1, 3), "f4")).tolist() == [[3, 3]]
heavy = {"torch", "scipy", "pywt", "onnx", "onnxruntime", "pandas", "pyarrow", "sklearn"}
print(sorted(heavy & set(sys.modules)))
"""


def test_running_needs_no_large_packages():
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
