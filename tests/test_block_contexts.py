"""Labels of blocks where they pay: planted ones are found, noise is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from codec_samples import SAMPLES, quantised, same_form

from reticule.codec import PRESETS, About, dumps, loads
from reticule.forms import Codebook, Dense, Form, Packed, Quantised, Sparse
from reticule.graph import Graph, Node
from reticule.methods import BlockContexts, Context
from reticule.recipes import load_recipe


def layer(form: Form) -> Packed:
    """A network of one convolution or linear layer."""
    node = Node("Conv" if len(form.shape) > 2 else "Gemm", "layer", ("x", "w"), ("y",))
    inputs = (form.shape[1], *(5 for _ in form.shape[2:]))
    return Packed(Graph({"x": inputs}, ("y",), (node,), {"w": form.shape}).check(), {"w": form})


def planted(seed: int, shape: tuple[int, ...], blocks: int = 4) -> np.ndarray:
    """A mask, dense between units of one block, units being in random order."""
    rng = np.random.default_rng(seed)
    rows, columns = (rng.integers(0, blocks, axis) for axis in shape[:2])
    likely = np.where(rows[:, None] == columns, 0.6, 0.02)
    return rng.random(shape) < likely.reshape(*shape[:2], *(1 for _ in shape[2:]))


def codes(mask: np.ndarray) -> Sparse:
    rng = np.random.default_rng(0)
    table = Dense(np.array([-1.5, -0.5, 0.5, 1.5], "f4"))
    return Sparse.at(mask, Codebook(rng.integers(0, 4, int(mask.sum())), table))


def applied(packed: Packed, preset: str = "small") -> tuple[Packed, dict[str, object], int, int]:
    """What the method makes, its notes, and the bytes of the files before and after."""

    def size(tried: Packed) -> int:
        return len(dumps(tried, About(), preset))

    outcome = BlockContexts(restarts=1).apply(packed, Context(packed.network(), file_size=size))
    return outcome.packed, dict(outcome.notes), size(packed), size(outcome.packed)


@pytest.mark.parametrize("shape", [(120, 160), (40, 48, 3, 3)])
def test_planted_blocks_are_found_and_paid_for(shape):
    packed = layer(codes(planted(0, shape)))
    found, notes, before, after = applied(packed)
    assert after < 0.95 * before
    assert notes["bytes_saved"] == before - after
    assert found.hints["w"].blocks == (4, 4)
    back = loads(dumps(found, About())).packed
    assert same_form(back.forms["w"], packed.forms["w"])
    assert back.network().tensors["w"].tobytes() == packed.network().tensors["w"].tobytes()


def test_scales_in_blocks_are_found_without_a_mask():
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 2, 96), rng.integers(0, 2, 96)
    spread = np.where(rows[:, None] == columns, 12.0, 0.5)
    levels = np.rint(rng.laplace(0, spread)).astype(int)
    packed = layer(Quantised(np.where(levels == 0, 1, levels), 0.5))
    found, notes, before, after = applied(packed)
    assert after < 0.9 * before
    assert found.hints["w"].blocks == (2, 2)
    assert "laplace" in str(notes["blocks"])


def test_noise_has_no_blocks():
    rng = np.random.default_rng(0)
    for form in (codes(rng.random((50, 60)) < 0.1), quantised(rng, (30, 20, 3, 3))):
        found, notes, before, after = applied(layer(form))
        assert after <= before and before - after == notes["bytes_saved"] < 0.01 * before
        assert same_form(found.forms["w"], form)


@pytest.mark.parametrize("sample", ["cnn", "quantised"])
def test_no_file_grows(sample):
    packed = SAMPLES[sample]()
    found, notes, before, after = applied(packed)
    assert after <= before and notes["bytes_saved"] == before - after
    assert all(same_form(packed.forms[name], form) for name, form in found.forms.items())


@pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset != "small"])
def test_presets_without_the_context_are_left_alone(preset):
    found, notes, before, after = applied(layer(codes(planted(0, (30, 40), 2))), preset)
    assert not found.hints and before == after and notes["bytes_saved"] == 0


def test_a_second_time_changes_nothing():
    first, _, _, size = applied(layer(codes(planted(0, (80, 80)))))
    second, notes, before, after = applied(first)
    assert before == after == size and notes["bytes_saved"] == 0
    assert np.array_equal(second.hints["w"].rows, first.hints["w"].rows)


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (0, 3), (3, 4, 0, 2)])
def test_layers_without_two_sides_are_listed(shape):
    form = Quantised(np.ones(shape, int), 1.0)
    node = Node("Gemm" if len(shape) == 2 else "Conv", "layer", ("x", "w"), ("y",))
    packed = Packed(Graph({"x": (3,)}, ("y",), (node,), {"w": shape}), {"w": form})
    context = Context(None, file_size=lambda tried: 100)
    assert list(BlockContexts().apply(packed, context).skipped) == ["w"]


def test_the_recipe_of_block_models_ends_with_it():
    assert [stage.name for stage in load_recipe("block-model").stages][-2:] == [
        "order-units",
        "block-contexts",
    ]
