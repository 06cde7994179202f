"""Block pruning and block-diagonal layers: what goes goes by the block, and answers stay free."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from gallery import GALLERY  # noqa: E402
from test_methods import trained_problem  # noqa: E402

from reticule.codec import About, dumps, loads  # noqa: E402
from reticule.engine import Model  # noqa: E402
from reticule.engine.operands import operand_of  # noqa: E402
from reticule.engine.operands.blocks import StripsOperand  # noqa: E402
from reticule.forms import Packed, Sparse  # noqa: E402
from reticule.forms.sparse import block_sides  # noqa: E402
from reticule.graph import Graph, Network, Node  # noqa: E402
from reticule.graph.torch_in import from_torch  # noqa: E402
from reticule.methods import BlockDiagonal, BlockPruning, Context, Retrain  # noqa: E402
from reticule.methods.prune.blocks import block_lasso, block_norms, spread  # noqa: E402
from reticule.methods.prune.diagonal import diagonal_parts  # noqa: E402
from reticule.methods.prune.gather import gathered  # noqa: E402
from reticule.tuning.train import Training  # noqa: E402

QUICK = Training(epochs=10, learning_rate=0.005, batch=16)


def wide(seed: int = 0) -> Network:
    """A convolution, one in groups, a depthwise one, a residual addition and two linear layers."""
    rng = np.random.default_rng(seed)
    shapes = {
        "first": (16, 3, 3, 3),
        "grouped": (16, 8, 3, 3),
        "depthwise": (16, 1, 3, 3),
        "hidden": (20, 256),
        "last": (5, 20),
    }
    nodes = (
        Node("Conv", "first", ("x", "first"), ("a",), {"pads": (1, 1, 1, 1)}),
        Node("Relu", "r", ("a",), ("b",)),
        Node("Conv", "grouped", ("b", "grouped"), ("c",), {"pads": (1, 1, 1, 1), "group": 2}),
        Node("Add", "add", ("b", "c"), ("d",)),
        Node("Conv", "depthwise", ("d", "depthwise"), ("e",), {"pads": (1, 1, 1, 1), "group": 16}),
        Node("Flatten", "f", ("e",), ("g",)),
        Node("Gemm", "hidden", ("g", "hidden"), ("h",)),
        Node("Relu", "r2", ("h",), ("i",)),
        Node("Gemm", "last", ("i", "last"), ("y",)),
    )
    tensors = {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    return Network(Graph({"x": (3, 4, 4)}, ("y",), nodes, shapes), tensors)


@given(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)), st.data())
@settings(max_examples=50, deadline=None)
def test_norms_lasso_and_masks_of_blocks(shape, data) -> None:
    """Against loops over the blocks, the last ones cut."""
    sides = tuple(data.draw(st.integers(1, 5)) for _ in shape)
    weights = np.random.default_rng(0).normal(size=shape).astype("f4")
    norms = block_norms(weights, sides)
    total, mask = 0.0, spread(norms > 1.5, sides, shape)
    for place in np.ndindex(*norms.shape):
        cut = tuple(slice(p * s, (p + 1) * s) for p, s in zip(place, sides, strict=True))
        norm = float(np.sqrt(np.square(weights[cut].astype("f8")).sum()))
        assert norms[place] == pytest.approx(norm)
        assert (mask[cut] == (norms[place] > 1.5)).all()
        total += weights[cut].size ** 0.5 * norm
    assert float(block_lasso(torch.from_numpy(weights), sides)) == pytest.approx(total, rel=1e-4)


def test_the_lasso_has_a_gradient_where_blocks_are_zero() -> None:
    weights = torch.zeros(4, 4, requires_grad=True)
    block_lasso(weights, (2, 2)).backward()
    assert torch.isfinite(weights.grad).all()


def test_blocks_go_and_the_accuracy_stays() -> None:
    problem = trained_problem(200)
    method = BlockPruning(density=0.4, rows=2, columns=2, smallest=30, training=QUICK)
    outcome = method.apply(Packed.of(problem.original), Context(problem.original, problem=problem))
    assert abs(outcome.notes["density"] - 0.4) < 0.1  # type: ignore[operator]
    assert problem.accuracy(outcome.packed) >= 94.0
    for name, form in outcome.packed.forms.items():
        if isinstance(form, Sparse):
            lines = form.mask().reshape(form.shape[0], -1)
            assert (lines[::2][: len(lines[1::2])] == lines[1::2]).all(), name
    again = loads(dumps(outcome.packed, About())).packed
    for name, form in outcome.packed.forms.items():
        assert np.array_equal(again.forms[name].dense(), form.dense())


def test_layers_without_room_for_a_block_are_named() -> None:
    names, skipped = BlockPruning(smallest=1).selected(Packed.of(wide()))
    assert names == ["grouped", "hidden", "last"]
    assert skipped["first"] == "16 x 3 channels are less than a block"
    assert skipped["depthwise"] == "blocks of 4 rows lie across its groups"


@pytest.mark.parametrize("kernel", ["taps", "whole"])
def test_masks_are_made_of_blocks_and_run_in_strips(kernel) -> None:
    method = BlockPruning(kernel=kernel, floor=0.0)
    weights = {"w": np.random.default_rng(0).normal(size=(16, 12, 3, 3)).astype("f4")}
    mask = method.cut_by("global")(weights, 0.3)["w"]
    sides = block_sides(mask)
    assert sides[0] % 4 == 0 and sides[1] % 4 == 0
    assert sides[2:] == ((3, 3) if kernel == "whole" else (1, 1))
    assert isinstance(operand_of(Sparse.keep(weights["w"], mask)), StripsOperand)


@pytest.mark.parametrize("name", ["mobilenet_v3", "resnext", "densenet", "shufflenet", "tied"])
def test_gathering_changes_no_answer(name) -> None:
    network = from_torch(*GALLERY[name]())
    packed = Packed.of(network)
    sides = {
        tensor: (4, 4, *[1] * (len(form.shape) - 2))
        for tensor, form in packed.forms.items()
        if len(form.shape) > 1
    }
    moved = gathered(packed, sides)
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(2, *shape)).astype("f4") for shape in network.graph.inputs.values()]
    before, after = (Model(p)(*images) for p in (packed, moved))
    for one, other in zip(np.atleast_1d(before), np.atleast_1d(after), strict=True):
        assert np.abs(one - other).max() <= 1e-5 * max(1.0, float(np.abs(one).max()))


def test_gathering_finds_planted_blocks() -> None:
    """Units whose weights come in fours, shuffled: afterwards a quarter of the blocks has all."""
    rng = np.random.default_rng(0)
    planted = np.kron(rng.random((8, 16)) < 0.2, np.ones((4, 4)))
    first = (planted * rng.normal(size=planted.shape)).astype("f4")[rng.permutation(32)]
    nodes = (
        Node("Gemm", "one", ("x", "a"), ("h",)),
        Node("Relu", "r", ("h",), ("z",)),
        Node("Gemm", "two", ("z", "b"), ("y",)),
    )
    tensors = {"a": first, "b": np.ones((3, 32), "f4")}
    shapes = {name: value.shape for name, value in tensors.items()}
    packed = Packed.of(Network(Graph({"x": (64,)}, ("y",), nodes, shapes), tensors))
    moved = gathered(packed, {"a": (4, 4), "b": (4, 4)}).forms["a"].dense()
    blocks = np.square(block_norms(moved, (4, 4))).ravel()
    assert np.sort(blocks)[-round(0.25 * blocks.size) :].sum() > 0.999 * blocks.sum()


@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_parts_are_of_equal_size_and_planted_ones_are_found(parts, seed) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = (rng.permutation(np.arange(6 * parts) % parts) for _ in range(2))
    energy = (rows[:, None] == columns) * rng.uniform(0.5, 1.5, (6 * parts, 6 * parts))
    found_rows, found_columns = diagonal_parts(energy, parts)
    assert (np.bincount(found_rows) == 6).all() and (np.bincount(found_columns) == 6).all()
    assert energy[found_rows[:, None] == found_columns].sum() == pytest.approx(energy.sum())


def test_a_block_diagonal_network_keeps_one_weight_in_so_many() -> None:
    network = wide()
    outcome = BlockDiagonal(parts=2, smallest=30).apply(Packed.of(network), Context(network))
    assert set(outcome.skipped) == {"first", "grouped", "depthwise"}
    hidden = outcome.packed.forms["hidden"]
    assert isinstance(hidden, Sparse) and hidden.nonzero == hidden.size // 2
    mask = hidden.mask()
    assert (mask[:10] == mask[0]).all() and (mask[10:] != mask[0]).all()  # in order of parts


def test_a_block_diagonal_network_can_be_retrained() -> None:
    problem = trained_problem(200)
    context = Context(problem.original, problem=problem)
    cut = BlockDiagonal(parts=2, smallest=30).apply(Packed.of(problem.original), context)
    tuned = Retrain(training=QUICK).apply(cut.packed, context).packed
    assert problem.accuracy(tuned) >= 90.0
    for name, form in cut.packed.forms.items():
        if isinstance(form, Sparse):
            assert np.array_equal(tuned.forms[name].mask(), form.mask())
