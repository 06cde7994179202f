"""Small networks in all forms, for the tests of the codec."""

from __future__ import annotations

import numpy as np

from reticule.codec import About
from reticule.data import Preprocessing
from reticule.forms import Codebook, Dense, Form, Packed, Sparse
from reticule.graph import Graph, Node


def packed_of(forms: dict[str, Form]) -> Packed:
    """A network that owns these tensors without using them."""
    node = Node("Relu", "relu", ("x",), ("y",))
    shapes = {name: form.shape for name, form in forms.items()}
    return Packed(Graph({"x": (4,)}, ("y",), (node,), shapes), forms)


def same_form(one: Form, other: Form) -> bool:
    """Whether two forms are equal to the last bit, inner forms included."""
    while isinstance(one, (Codebook, Sparse)):
        if type(one) is not type(other) or one.shape != other.shape:
            return False
        if isinstance(one, Codebook):
            if not np.array_equal(one.indices, other.indices):
                return False
            one, other = one.centroids, other.centroids
        else:
            if not np.array_equal(one.positions(), other.positions()):
                return False
            one, other = one.values, other.values
    return (
        type(one) is type(other)
        and one.shape == other.shape
        and one.values.dtype == other.values.dtype
        and one.values.tobytes() == other.values.tobytes()
    )


def pruned(
    rng: np.random.Generator, shape: tuple[int, ...], density: float, centroids: int
) -> Sparse:
    """A random tensor after pruning and weight sharing."""
    mask = rng.random(shape) < density
    table = np.sort(rng.normal(size=centroids)).astype("f4")
    likely = np.exp(-np.abs(table)) / np.exp(-np.abs(table)).sum()
    indices = rng.choice(centroids, int(mask.sum()), p=likely)
    return Sparse.at(mask, Codebook(indices.astype("u2"), Dense(table)))


def small_cnn(seed: int = 0) -> Packed:
    """A convolutional network of seven layers, each tensor in another form."""
    rng = np.random.default_rng(seed)
    scale = Dense((1 + 0.1 * rng.normal(size=6)).astype("f2"))
    columns = rng.random((10, 54)) < np.where(rng.random(54) < 0.2, 0.9, 0.01)
    forms: dict[str, Form] = {
        "conv.weight": Dense(rng.normal(size=(6, 1, 3, 3)).astype("f4")),
        "conv.bias": Dense(np.zeros(6, "f4")),
        "bn.scale": scale,
        "bn.shift": Dense(rng.normal(size=6).astype("f2")),
        "bn.mean": Dense(np.array([0.0, -0.0, 1e-42, 3e38, -1.0, 0.5], "f4")),
        "bn.var": Codebook(np.array([0, 1, 0, 1, 1, 0], "u1"), Dense(np.array([1.0, 2.0], "f4"))),
        "fc1.weight": pruned(rng, (54, 54), 0.08, 16),
        "fc1.bias": Sparse.keep(np.arange(54, dtype="f4"), np.arange(54) == 53),
        "fc2.weight": Sparse.at(columns, Dense(rng.normal(size=int(columns.sum())).astype("f4"))),
    }
    nodes = (
        Node("Conv", "conv", ("x", "conv.weight", "conv.bias"), ("c",), {"pads": (1, 1, 1, 1)}),
        Node(
            "BatchNormalization", "bn", ("c", "bn.scale", "bn.shift", "bn.mean", "bn.var"), ("b",)
        ),
        Node("Clip", "clip", ("b",), ("r",), {"min": 0.0, "max": float("inf")}),
        Node("MaxPool", "pool", ("r",), ("p",), {"kernel_shape": (2, 2), "strides": (2, 2)}),
        Node("Flatten", "flat", ("p",), ("f",)),
        Node("Gemm", "fc1", ("f", "fc1.weight", "fc1.bias"), ("h",)),
        Node("LeakyRelu", "leaky", ("h",), ("a",), {"alpha": -0.0}),
        Node("Gemm", "fc2", ("a", "fc2.weight"), ("y",)),
    )
    shapes = {name: form.shape for name, form in forms.items()}
    return Packed(Graph({"x": (1, 6, 6)}, ("y",), nodes, shapes).check(), forms)


def odd_shapes(seed: int = 0) -> Packed:
    """Scalars, empty tensors, one axis, many centroids, and every stream coder."""
    rng = np.random.default_rng(seed)
    dyadic = np.repeat(np.arange(5), [64, 32, 16, 8, 8])  # what Huffman's code is perfect for
    many = rng.normal(size=5000).astype("f4")
    return packed_of(
        {
            "scalar": Dense(np.array(-0.0, "f4")),
            "empty": Dense(np.zeros((0, 3), "f4")),
            "empty rows": Sparse.at(np.zeros((0, 3), bool), Dense(np.zeros(0, "f4"))),
            "nothing kept": Sparse.at(np.zeros((7, 5), bool), Dense(np.zeros(0, "f4"))),
            "scalar kept": Sparse.at(np.ones((), bool), Dense(np.ones(1, "f2"))),
            "dyadic": Codebook(
                rng.permutation(dyadic).astype("u1"), Dense(np.linspace(-1, 1, 5, dtype="f4"))
            ),
            "many centroids": Codebook(rng.integers(0, 5000, (30, 4)).astype("u2"), Dense(many)),
            "sparse in sparse": Sparse.at(
                np.arange(60).reshape(3, 4, 5) % 3 == 0, pruned(rng, (20,), 0.4, 3)
            ),
        }
    )


def described() -> About:
    """A description with every field."""
    return About(
        preprocessing=Preprocessing(255.0, (0.1, 0.2, 0.3), (0.9, 0.8, 0.7)),
        labels=("nought", "één", "二"),
        recipe={"name": "deep-compression", "steps": [{"prune": 0.9}, {"share": None}]},
        seed=42,
        bytes_original=123456,
        accuracy={"before": 99.25, "measured_on": "test", "n": 10000},
    )
