"""Small networks in all forms, for the tests of the codec."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reticule import _native
from reticule.codec import About
from reticule.data import Preprocessing
from reticule.forms import (
    BitPlanes,
    BlockLabels,
    Codebook,
    Common,
    Dense,
    Factored,
    Form,
    Hashed,
    Lapped,
    Packed,
    Quantised,
    Scaled,
    Sparse,
    Spectral,
    Wavelet,
)
from reticule.forms.base import Shape, matrix_shape
from reticule.forms.planes import blocks_of
from reticule.graph import Graph, Node


def packed_of(forms: dict[str, Form]) -> Packed:
    """A network that owns these tensors without using them."""
    node = Node("Relu", "relu", ("x",), ("y",))
    shapes = {name: form.shape for name, form in forms.items()}
    return Packed(Graph({"x": (4,)}, ("y",), (node,), shapes), forms)


def same_form(one: Form, other: Form) -> bool:
    """Whether two forms are equal to the last bit, inner forms included."""
    while True:
        if type(one) is not type(other) or one.shape != other.shape or one.name != other.name:
            return False
        match one, other:
            case Codebook(), Codebook():
                if not np.array_equal(one.indices, other.indices):
                    return False
                one, other = one.centroids, other.centroids
            case Sparse(), Sparse():
                if not np.array_equal(one.positions(), other.positions()):
                    return False
                one, other = one.values, other.values
            case Hashed(), Hashed():
                if (one.seed, one.budgets) != (other.seed, other.budgets):
                    return False
                one, other = one.values, other.values
            case Scaled(), Scaled():
                if not same_form(one.scales, other.scales):
                    return False
                one, other = one.values, other.values
            case Common(), Common():
                if not np.array_equal(one.labels, other.labels):
                    return False
                if not same_form(one.centres, other.centres):
                    return False
                one, other = one.residual, other.residual
            case Factored(), Factored():
                pairs = list(zip(one.factors, other.factors, strict=True))
                if not all(same_form(*pair) for pair in pairs[1:]):
                    return False
                one, other = pairs[0]
            case Lapped(), Lapped():
                if (one.grid, one.block) != (other.grid, other.block):
                    return False
                one, other = one.coefficients, other.coefficients
            case Wavelet(), Wavelet():
                if (one.grid, one.kind, one.levels) != (other.grid, other.kind, other.levels):
                    return False
                one, other = one.coefficients, other.coefficients
            case BitPlanes(), BitPlanes():
                same = (one.step, one.block) == (other.step, other.block)
                same = same and np.array_equal(one.planes, other.planes)
                return same and np.array_equal(one.levels, other.levels)
            case Spectral(), Spectral():
                one, other = one.coefficients, other.coefficients
            case Quantised(), Quantised():
                same = (one.step, one.states) == (other.step, other.states)
                return same and np.array_equal(one.levels, other.levels)
            case Dense(), Dense():
                same = one.values.dtype == other.values.dtype
                return same and one.values.tobytes() == other.values.tobytes()
            case _:
                raise TypeError(f"cannot compare {type(one).__name__}")


def pruned(rng: np.random.Generator, shape: Shape, density: float, centroids: int) -> Sparse:
    """A random tensor after pruning and weight sharing."""
    mask = rng.random(shape) < density
    table = np.sort(rng.normal(size=centroids)).astype("f4")
    likely = np.exp(-np.abs(table)) / np.exp(-np.abs(table)).sum()
    indices = rng.choice(centroids, int(mask.sum()), p=likely)
    return Sparse.at(mask, Codebook(indices.astype("u2"), Dense(table)))


def quantised(
    rng: np.random.Generator, shape: Shape, states: int = 0, spread: float = 2.0, step: float = 0.25
) -> Quantised:
    """Random levels about zero; with states, a random path through that trellis."""
    levels = np.rint(rng.laplace(scale=spread, size=shape)).astype(np.int32)
    if states:
        indices, levels = levels.reshape(-1), np.empty(levels.size, np.int32)
        _native.trellis_levels(indices, matrix_shape(shape)[1], states, levels)
    return Quantised(levels.reshape(shape), step, states)


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


def quantised_cnn(seed: int = 0) -> Packed:
    """A network after post-training compression: grids, trellises, transforms, short biases."""
    rng = np.random.default_rng(seed)
    bias = np.array([300, -512, 0, 511, -7, 1, 2, 44], np.int16)
    forms: dict[str, Form] = {
        "conv1.weight": Spectral(quantised(rng, (8, 3, 3, 3), 8)),
        "conv1.bias": Quantised(bias, float(np.float32(0.001))),  # no bfloat16
        "depthwise.weight": quantised(rng, (8, 1, 3, 3), 8, step=0.125),
        "grouped.weight": Spectral(quantised(rng, (16, 4, 5, 5), 32, 0.7)),
        "grouped.bias": Codebook(
            rng.integers(0, 3, 16).astype("u1"), Quantised(np.array([-3, 0, 2]), 0.5)
        ),
        "wide.weight": quantised(rng, (8, 16, 1, 7), 64, 30.0),
        "fc.bias": Quantised(np.array([1 << 20, -1, 0, 5]), 2.0**-20),
    }
    mask = rng.random((4, 8)) < 0.4
    forms["fc.weight"] = Sparse.at(mask, quantised(rng, (int(mask.sum()),)))
    nodes = (
        Node("Conv", "conv1", ("x", "conv1.weight", "conv1.bias"), ("a",), {"pads": (1, 1, 1, 1)}),
        Node("Relu", "relu1", ("a",), ("b",)),
        Node("Conv", "dw", ("b", "depthwise.weight"), ("c",), {"group": 8, "pads": (1, 1, 1, 1)}),
        Node(
            "Conv", "gc", ("c", "grouped.weight", "grouped.bias"), ("d",),
            {"group": 2, "pads": (2, 2, 2, 2)},
        ),
        Node("Conv", "wide", ("d", "wide.weight"), ("e",), {"pads": (0, 3, 0, 3)}),
        Node("GlobalAveragePool", "pool", ("e",), ("f",)),
        Node("Flatten", "flat", ("f",), ("g",)),
        Node("Gemm", "fc", ("g", "fc.weight", "fc.bias"), ("y",)),
    )  # fmt: skip
    shapes = {name: form.shape for name, form in forms.items()}
    return Packed(Graph({"x": (3, 8, 8)}, ("y",), nodes, shapes).check(), forms)


def odd_forms(seed: int = 0) -> Packed:
    """Forms within forms that no method makes, in ranks that few networks have."""
    rng = np.random.default_rng(seed)
    shape = (5, 3, 4, 2)
    mask = rng.random(shape) < 0.3
    kept = int(mask.sum())
    table = Sparse.keep(np.array([0, -1.5, 0, 2], "f4"), np.array([0, 1, 0, 1]))
    return packed_of(
        {
            "dct of floats": Spectral(Dense(rng.normal(size=shape).astype("f4"))),
            "dct of halves": Spectral(Dense(rng.normal(size=shape).astype("f2"))),
            "dct of kept codes": Spectral(
                Sparse.at(
                    mask,
                    Codebook(rng.integers(0, 4, kept).astype("u1"), table),
                )
            ),
            "dct of dct": Spectral(Spectral(quantised(rng, shape))),
            "kept three times": Sparse.at(
                np.ones((4, 6), bool),
                Sparse.at(np.arange(24) % 2 == 0, pruned(rng, (12,), 0.5, 2)),
            ),
            "nothing kept of nothing": Sparse.at(
                np.zeros((4, 6), bool), Sparse.at(np.zeros(0, bool), quantised(rng, (0,)))
            ),
            "line of kernels": quantised(rng, (6, 5, 7), 8),
            "volume": quantised(rng, (3, 2, 3, 2, 5), 32),
            "scalar level": quantised(rng, (), 8),
            "no levels": quantised(rng, (3, 0, 2), 64),
            "one row": quantised(rng, (200,), 64),
            "large levels": Quantised(np.array([[1 << 24, -(1 << 24)], [4096, -4097]]), 1e30),
            "small step": Quantised(np.array([1, -3]), float(np.float32(1e-45))),
            "constant": Quantised(np.full((3, 3), -7), 1.0),
            "no centroids": Codebook(np.zeros((0, 2), "u1"), Dense(np.zeros(0, "f4"))),
            "signs of zero": Codebook(
                np.array([0, 1, 2, 3], "u1"), Dense(np.array([0.0, -1.0, -0.0, 0.0], "f4"))
            ),
        }
    )


def several_chunks(seed: int = 0) -> Packed:
    """Tensors of more than a chunk each, between small ones; few distinct values."""
    rng = np.random.default_rng(seed)
    trellis = quantised(rng, (100, 1500), 8, 0.1)  # row groups of 44 rows
    mask = rng.random((75, 64, 3, 5)) < 0.02
    kept = int(mask.sum())
    return packed_of(
        {
            "first": quantised(rng, (9,)),
            "path": trellis,
            "between": Dense(rng.normal(size=7).astype("f4")),
            "noisy": quantised(rng, (99, 100), 0, 4.0),  # enough for streams in lanes
            "kept": Sparse.at(
                mask, Codebook(rng.integers(0, 2, kept).astype("u1"), Dense(np.ones(2, "f4")))
            ),
            "long row": Codebook(
                (np.arange(140_000) % 1000 == 0).astype("u1"), Dense(np.array([0, 1], "f4"))
            ),
            "last": quantised(rng, (3, 3)),
        }
    )


def hashed(rng: np.random.Generator, shape: Shape, *budgets: int) -> Hashed:
    """Random values on a grid, shared by a random hash."""
    return Hashed(shape, int(rng.integers(1 << 32)), budgets, quantised(rng, (sum(budgets),)))


def hashed_forms(seed: int = 0) -> Packed:
    """Hashes with and without bands, within forms and around them."""
    rng = np.random.default_rng(seed)
    halves = Dense(rng.normal(size=9).astype("f2"))
    mask = rng.random((6, 5)) < 0.5
    return packed_of(
        {
            "matrix": hashed(rng, (7, 9), 5),
            "kernels": hashed(rng, (4, 2, 3, 3), 3, 4, 1, 2, 1),
            "rectangular": hashed(rng, (3, 2, 1, 4), 1, 6, 2, 5),
            "all of their own": Hashed((3, 3), 0, (9,), halves),
            "one for all": Hashed((5, 1, 2, 2), 0xFFFFFFFF, (1,), Dense(np.ones(1, "f4"))),
            "frequencies": Spectral(hashed(rng, (4, 2, 2, 3), 4, 9, 3, 1)),
            "kept": Sparse.at(mask, hashed(rng, (int(mask.sum()),), 4)),
            "nothing kept": Sparse.at(np.zeros((2, 3), bool), hashed(rng, (0,), 0)),
            "twice": Hashed((30,), 1, (12,), hashed(rng, (12,), 5)),
            "centroids": Codebook(rng.integers(0, 9, (4, 6)).astype("u1"), hashed(rng, (9,), 3)),
            "scalar": hashed(rng, (), 1),
            "empty": hashed(rng, (4, 0), 0),
            "empty with bands": hashed(rng, (2, 0, 2, 2), 0, 0, 0),
        }
    )


def scaled(rng: np.random.Generator, values: Form) -> Scaled:
    """Random float16 scales of the rows."""
    return Scaled(values, Dense(rng.normal(size=values.shape[0]).astype("f2")))


def scaled_forms(seed: int = 0) -> Packed:
    """Binary and ternary levels, and other forms, with scales of rows."""
    rng = np.random.default_rng(seed)
    ternary = Quantised(rng.integers(-1, 2, (8, 3, 3, 3)), 1.0)
    signs = Quantised(2 * rng.integers(0, 2, (5, 7)) - 1, 1.0)
    table = Dense(np.array([-0.5, 0.0, 0.75], "f2"))
    trained = Codebook(rng.integers(0, 3, (6, 4, 1, 1)), table)
    mask = rng.random((6, 5)) < 0.5
    kept = Sparse.at(mask, quantised(rng, (int(mask.sum()),)))
    return packed_of(
        {
            "ternary": scaled(rng, ternary),
            "binary": scaled(rng, signs),
            "trained ternary": scaled(rng, trained),
            "pruned": scaled(rng, kept),
            "scales on a grid": Scaled(quantised(rng, (4, 9), 8), quantised(rng, (4,))),
            "frequencies": Spectral(scaled(rng, quantised(rng, (3, 2, 2, 3)))),
            "one row": scaled(rng, quantised(rng, (1, 9))),
            "vector": scaled(rng, quantised(rng, (9,))),
            "centroids": Codebook(rng.integers(0, 9, (4, 6)), scaled(rng, quantised(rng, (9,)))),
            "twice": scaled(rng, scaled(rng, quantised(rng, (5, 4)))),
            "no rows": scaled(rng, quantised(rng, (0, 3))),
            "empty rows": scaled(rng, quantised(rng, (3, 0))),
        }
    )


def common(rng: np.random.Generator, shape: Shape, count: int, residual: Form) -> Common:
    """Random labels of random centres on a grid."""
    labels = rng.integers(0, count, shape[:-2]) if count else np.zeros(shape[:-2], np.int64)
    return Common(labels, quantised(rng, (count, *shape[-2:])), residual)


def common_forms(seed: int = 0) -> Packed:
    """Common parts of kernels and of their frequencies."""
    rng = np.random.default_rng(seed)
    kernels = (6, 4, 3, 3)
    mask = rng.random(kernels) < 0.2
    kept = Sparse.at(mask, quantised(rng, (int(mask.sum()),)))
    few = rng.random((5, 3, 3)) < 0.6
    centres = Sparse.at(few, quantised(rng, (int(few.sum()),), step=0.5))
    return packed_of(
        {
            "taps": common(rng, (3, 2, 2, 4), 4, quantised(rng, (3, 2, 2, 4))),
            "frequencies": Spectral(common(rng, kernels, 7, kept)),
            "sparse centres": Spectral(Common(rng.integers(0, 5, kernels[:2]), centres, kept)),
            "one centre": common(
                rng,
                (2, 3, 1, 1),
                1,
                Dense(
                    rng.normal(
                        size=(
                            2,
                            3,
                            1,
                            1,
                        )
                    ).astype("f4")
                ),
            ),
            "a centre each": common(rng, (2, 2, 2, 2), 4, quantised(rng, (2, 2, 2, 2))),
            "five axes": common(rng, (2, 3, 2, 2, 3), 3, quantised(rng, (2, 3, 2, 2, 3), 8)),
            "twice": common(
                rng, (3, 2, 2, 2), 2, common(rng, (3, 2, 2, 2), 3, quantised(rng, (3, 2, 2, 2)))
            ),
            "no kernels": common(rng, (0, 3, 2, 2), 0, quantised(rng, (0, 3, 2, 2))),
            "no taps": common(rng, (2, 3, 0, 2), 2, quantised(rng, (2, 3, 0, 2))),
        }
    )


def in_blocks(rng: np.random.Generator, shape: Shape, sides: Shape, density: float) -> np.ndarray:
    """A mask that keeps or drops whole blocks, some of each."""
    coarse = rng.random([-(-axis // side) for axis, side in zip(shape, sides, strict=True)])
    coarse = coarse <= max(np.quantile(coarse, density), coarse.min())
    for axis, side in enumerate(sides):
        coarse = coarse.repeat(side, axis)
    return coarse[tuple(slice(axis) for axis in shape)]


def block_forms(seed: int = 0) -> Packed:
    """Pruned by the block: along channels, whole kernels, cut blocks, several row groups."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[Shape, Shape]] = {
        "matrix": ((12, 20), (4, 4)),
        "cut": ((10, 13), (4, 8)),
        "taps": ((8, 8, 3, 3), (4, 4, 1, 1)),
        "kernels": ((6, 5, 3, 2), (1, 1, 3, 2)),
        "rows": ((9, 7), (1, 7)),
        "columns": ((9, 7), (9, 1)),
        "volume": ((4, 4, 2, 2, 3), (2, 2, 2, 2, 3)),
        "vector": ((40,), (8,)),
    }
    forms: dict[str, Form] = {}
    for name, (shape, sides) in shapes.items():
        mask = in_blocks(rng, shape, sides, 0.4)
        forms[name] = Sparse.at(mask, quantised(rng, (int(mask.sum()),)))
    large = in_blocks(rng, (136, 1024), (8, 64), 0.05)  # row groups of 64 rows, and of 4096
    codes = rng.integers(0, 3, int(large.sum())).astype("u1")
    forms["large"] = Sparse.at(large, Codebook(codes, Dense(np.array([-1, 1, 2], "f4"))))
    pruned = in_blocks(rng, (8, 8), (2, 4), 0.5)
    forms["scaled"] = scaled(rng, Sparse.at(pruned, quantised(rng, (int(pruned.sum()),))))
    return packed_of(forms)


def bitplanes(
    rng: np.random.Generator, shape: Shape, block: int = 4, step: float = 0.125
) -> BitPlanes:
    """Random levels about zero, and up to three planes cut off from each code block."""
    levels = np.rint(rng.laplace(scale=2.0, size=shape)).astype(np.int32)
    planes = rng.integers(0, 4, blocks_of(shape, block))
    return BitPlanes(levels, planes, step, block)


def transformed_forms(seed: int = 0) -> Packed:
    """Lapped transforms and wavelets of kernels, rows and matrices; bit planes."""
    rng = np.random.default_rng(seed)
    odd = rng.normal(size=(7, 11)).astype("f4")
    mask = rng.random((6, 4)) < 0.5
    return packed_of(
        {
            "matrix": Lapped(bitplanes(rng, (9, 21)), (9, 21), 4),
            "rows": Lapped(quantised(rng, (5, 13)), (1, 13), 6),
            "kernels": Lapped(bitplanes(rng, (4, 3, 5, 5)), (5, 5), 3),
            "odd blocks": Lapped(Dense(odd), (7, 11), 3),
            "one block": Lapped(Dense(odd), (7, 11), 64),
            "several rows": Lapped(quantised(rng, (6, 8)), (3, 8), 4),
            "5/3": Wavelet(bitplanes(rng, (10, 17)), (10, 17), "5/3", 3),
            "9/7": Wavelet(bitplanes(rng, (10, 17)), (10, 17), "9/7", 5),
            "9/7 of kernels": Wavelet(Dense(odd[:, :10].reshape(7, 1, 2, 5)), (2, 5), "9/7", 1),
            "lines": Wavelet(quantised(rng, (4, 12)), (1, 12), "5/3", 8),
            "upright": Wavelet(quantised(rng, (12, 1)), (12, 1), "9/7", 2),
            "of single weights": Wavelet(quantised(rng, (3, 4)), (1, 1), "5/3", 1),
            "wavelet of kept": Wavelet(
                Sparse.at(mask, quantised(rng, (int(mask.sum()),))), (6, 4), "9/7", 2
            ),
            "lapped wavelet": Lapped(Wavelet(bitplanes(rng, (6, 6)), (6, 6), "5/3", 1), (6, 6), 2),
            "dct": Spectral(bitplanes(rng, (3, 2, 3, 3), 64)),
            "planes": bitplanes(rng, (70, 5), 64, float(np.float32(0.3))),
            "vector": bitplanes(rng, (11,), 3),
            "largest": BitPlanes(
                np.array([[(1 << 23) - 1, 1 - (1 << 23)]]), np.array([[23]]), 2.0**-20, 2
            ),
            "no planes": BitPlanes(np.zeros((0, 3), int), np.zeros((0, 1), int), 1.0, 64),
            "nothing to lap": Lapped(Dense(np.zeros((0, 3), "f4")), (1, 1), 2),
        }
    )


def factored(rng: np.random.Generator, shape: Shape, rank: int, second: int | None) -> Factored:
    """Random factors in float16 and on a grid; without a second rank, no columns."""
    rows = Dense(rng.normal(size=(shape[0], rank)).astype("f2"))
    if second is None:
        return Factored(rows, quantised(rng, (rank, *shape[1:])))
    core = Dense(rng.normal(size=(rank, second, *shape[2:])).astype("f4"))
    return Factored(rows, core, quantised(rng, (shape[1], second)))


def factored_forms(seed: int = 0) -> Packed:
    """Layers of low rank: two factors and three, plain, coded and pruned."""
    rng = np.random.default_rng(seed)
    rows = rng.random((6, 9)) < 0.3
    blocks = rng.random((9, 7)) < 0.4
    table = Dense(np.array([-1.5, -0.25, 0.5, 2.0], "f2"))
    codes = [Codebook(rng.integers(0, 4, shape), table) for shape in ((6, 3), (3, 2), (8, 2))]
    core = Spectral(quantised(rng, (3, 2, 3, 3)))
    return packed_of(
        {
            "two": factored(rng, (9, 12), 3, None),
            "three": factored(rng, (9, 12), 3, 2),
            "kernels": factored(rng, (5, 4, 3, 2), 2, 3),
            "kernels of all inputs": factored(rng, (5, 2, 3, 3), 4, None),
            "three axes": factored(rng, (4, 3, 5), 2, 2),
            "codes": Factored(*codes),
            "blocks": Factored(
                Sparse.at(rows, quantised(rng, (int(rows.sum()),))),
                Sparse.at(blocks, Dense(rng.normal(size=int(blocks.sum())).astype("f4"))),
            ),
            "frequencies": Factored(
                quantised(rng, (7, 3), 8), core, Dense(rng.normal(size=(5, 2)).astype("f4"))
            ),
            "scaled": scaled(rng, factored(rng, (6, 8), 2, None)),
            "twice": Factored(
                quantised(rng, (6, 4)), factored(rng, (4, 5, 2, 2), 2, 2), quantised(rng, (7, 5))
            ),
            "more ranks than rows": factored(rng, (2, 3), 7, None),
            "rank 0": factored(rng, (4, 3), 0, None),
            "ranks 2 and 0": factored(rng, (4, 3), 2, 0),
            "no rows": factored(rng, (0, 3), 2, 2),
            "no columns": factored(rng, (3, 0, 2, 2), 2, None),
        }
    )


def labelled_forms(seed: int = 0) -> Packed:
    """Tensors whose coder knows blocks of rows and columns: every place that a form can have."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, 3, 24), rng.integers(0, 4, 30)
    dense = rng.random((3, 4)) ** 2
    mask = rng.random((24, 30)) < dense[rows][:, columns]
    kept = int(mask.sum())
    kernels = rng.random((8, 6, 3, 3)) < 0.3
    table = Dense(np.array([-1.5, -0.25, 0.5, 2.0], "f2"))
    few = Dense(rng.choice(np.array([0.5, -2.5, 1e-3], "f4"), (20, 24)))
    forms: dict[str, Form] = {
        "codes under a mask": Sparse.at(mask, Codebook(rng.integers(0, 4, kept), table)),
        "floats under a mask": Sparse.at(mask, Dense(rng.normal(size=kept).astype("f2"))),
        "floats": Dense(rng.normal(size=(9, 7)).astype("f4")),
        "few floats": few,
        "path": quantised(rng, (8, 6, 3, 3), 8, 1.0),
        "kernels": Sparse.at(kernels, quantised(rng, (int(kernels.sum()),))),
        "frequencies": Spectral(quantised(rng, (8, 6, 3, 3))),
        "sparse in sparse": Sparse.at(mask, pruned(rng, (kept,), 0.4, 3)),
        "scaled": scaled(rng, quantised(rng, (7, 9))),
        "common": common(rng, (6, 4, 3, 3), 3, quantised(rng, (6, 4, 3, 3))),
        "planes": bitplanes(rng, (9, 12)),
        "lapped": Lapped(quantised(rng, (5, 13)), (1, 13), 6),
        "wavelet": Wavelet(quantised(rng, (6, 8)), (6, 8), "5/3", 2),
        "hashed": hashed(rng, (7, 9), 5),
        "factored": factored(rng, (6, 8), 2, 3),
        "in blocks": Sparse.at(in_blocks(rng, (12, 20), (4, 4), 0.4), Dense(np.ones(96, "f4"))),
        "large": Quantised(rng.integers(-300, 300, (40, 32)), 0.5),
        "without labels": quantised(rng, (6, 5)),
    }
    packed = packed_of(forms)
    hints = {
        name: BlockLabels(rng.integers(0, 3, form.shape[0]), rng.integers(0, 4, form.shape[1]))
        for name, form in forms.items()
        if name != "without labels"
    }
    hints["codes under a mask"] = hints["floats under a mask"] = BlockLabels(rows, columns)
    hints["large"] = BlockLabels(np.arange(40) % 32, np.arange(32))
    return replace(packed, hints=hints)


SAMPLES = {
    "cnn": small_cnn,
    "odd": odd_shapes,
    "quantised": quantised_cnn,
    "forms": odd_forms,
    "chunks": several_chunks,
    "hashed": hashed_forms,
    "transformed": transformed_forms,
    "common": common_forms,
    "blocks": block_forms,
    "scaled": scaled_forms,
    "factored": factored_forms,
    "labelled": labelled_forms,
}


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
