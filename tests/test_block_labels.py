"""Blocks of rows and columns as hints for the coder: carried along, stored, read with suspicion."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from codec_mutations import crafted, shape, varint
from codec_samples import SAMPLES, labelled_forms, packed_of, quantised, same_form, small_cnn
from hypothesis import given
from hypothesis import strategies as st
from test_codec_forms import SHAPES, forms

from reticule.codec import About, dumps, load_tensor, loads, save
from reticule.codec.chunks import PRESETS, coder
from reticule.codec.section import _Coded
from reticule.errors import Fault, FormatError
from reticule.forms import BlockLabels, Dense, Packed, Sparse, channels_of, operated
from reticule.graph.channels import reordered, without
from reticule.journal import Journal
from reticule.layers import layers_of
from reticule.methods import Context, Recode
from reticule.records import StageRecord

GRID = b"\x04\x00\x80\x3f"  # tag and structure: no trellis, a step of 1
ZERO = b"\x00"  # labels or integers that are all 0


def some_labels(rng: np.random.Generator, shape: tuple[int, ...]) -> BlockLabels:
    """Random ones, that fit a tensor of this shape."""
    sides = (rng.integers(0, min(axis, 4), axis) for axis in shape[:2])
    return BlockLabels(*(np.unique(side, return_inverse=True)[1] for side in sides))


def with_labels(packed: Packed, seed: int = 0) -> Packed:
    """Labels for everything that can have some."""
    rng = np.random.default_rng(seed)
    fit = {name: form for name, form in packed.forms.items() if len(form.shape) > 1 and form.size}
    return replace(packed, hints={name: some_labels(rng, form.shape) for name, form in fit.items()})


def same_labels(one: BlockLabels, other: BlockLabels) -> bool:
    return np.array_equal(one.rows, other.rows) and np.array_equal(one.columns, other.columns)


@pytest.mark.parametrize("sample", SAMPLES)
def test_labels_and_forms_of_every_kind_come_back(sample):
    packed = with_labels(SAMPLES[sample]())
    data = dumps(packed, About())
    found = loads(data).packed
    assert all(same_form(packed.forms[name], form) for name, form in found.forms.items())
    assert set(found.hints) == set(packed.hints)
    assert all(same_labels(packed.hints[name], hint) for name, hint in found.hints.items())
    assert dumps(found, About()) == data


@given(st.data())
def test_labels_around_every_nesting_of_forms_come_back(data):
    form = data.draw(forms(data.draw(SHAPES)))
    packed = with_labels(packed_of({"w": form}))
    by_preset = patch.object(
        _Coded, "shortest", lambda pieces, _: _Coded(*coder("small").encode(pieces))
    )
    for chooser in (nullcontext(), by_preset):  # the preset may be left for instant, or not
        with chooser:
            found = loads(dumps(packed, About())).packed
        assert same_form(form, found.forms["w"])
        assert set(found.hints) == set(packed.hints)


@pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset != "small"])
def test_other_presets_leave_labels_out(preset):
    plain = SAMPLES["cnn"]()
    assert dumps(with_labels(plain), About(), preset) == dumps(plain, About(), preset)


def test_labels_that_do_not_fit_are_left_out():
    packed = packed_of(
        {"w": quantised(np.random.default_rng(0), (6, 5)), "v": Dense(np.ones(6, "f4"))}
    )
    plain = dumps(packed, About())
    for rows, columns in (
        (np.arange(5), np.arange(5)),
        (np.arange(6), np.arange(6)),
        (np.full(6, 9), np.zeros(5, int)),  # ten blocks of six rows
    ):
        hints = {"w": BlockLabels(rows, columns), "nowhere": BlockLabels([0, 0], [0])}
        assert dumps(replace(packed, hints=hints), About()) == plain
    vector = {"v": BlockLabels(np.arange(6), np.zeros(1, int))}
    assert dumps(replace(packed, hints=vector), About()) == plain
    many = packed_of({"w": Dense(np.ones((40, 40), "f4"))})
    hints = {"w": BlockLabels(np.arange(40), np.arange(40))}
    assert dumps(replace(many, hints=hints), About()) == dumps(many, About())


@pytest.mark.parametrize("labels", [[[0, 1]], [0.5, 1], [-1, 0], [0, 1024]])
def test_labels_are_vectors_of_small_integers(labels):
    with pytest.raises(ValueError, match="labels of"):
        BlockLabels(labels, [0])
    with pytest.raises(ValueError, match="labels of"):
        BlockLabels([0], labels)


def test_one_tensor_is_read_with_its_labels(tmp_path):
    packed = labelled_forms()
    save(tmp_path / "x.ret", packed, About())
    for name, form in packed.forms.items():
        assert same_form(load_tensor(tmp_path / "x.ret", name), form)


def test_labels_save_what_they_tell():
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 4, 200), rng.integers(0, 4, 300)
    mask = rng.random((200, 300)) < np.where(rows[:, None] == columns, 0.5, 0.02)
    packed = packed_of({"w": Sparse.at(mask, quantised(rng, (int(mask.sum()),)))})
    hints = {"w": BlockLabels(rows, columns)}
    assert len(dumps(replace(packed, hints=hints), About())) < 0.92 * len(dumps(packed, About()))


def test_units_take_their_labels_along():
    packed = with_labels(small_cnn(), 3)
    channels = channels_of(packed)
    (units,) = [u for u in channels.classes if channels.groups["fc1"][0] in u]
    order = np.random.default_rng(0).permutation(units.size)
    found = operated(packed, reordered(channels, [units[order]]))
    assert (
        found.hints["fc1.weight"].rows.tolist() == packed.hints["fc1.weight"].rows[order].tolist()
    )
    columns = packed.hints["fc2.weight"].columns[order]
    assert found.hints["fc2.weight"].columns.tolist() == columns.tolist()
    assert same_labels(found.hints["conv.weight"], packed.hints["conv.weight"])
    fewer = operated(packed, without(channels, units[packed.hints["fc1.weight"].rows == 1], 1))
    rows = packed.hints["fc1.weight"].rows
    kept = np.unique(rows[rows != 1], return_inverse=True)[1]
    assert fewer.hints["fc1.weight"].rows.tolist() == kept.tolist()
    assert set(loads(dumps(fewer, About())).packed.hints) == set(packed.hints)


def test_checkpoints_and_recoding_keep_labels(tmp_path):
    packed = with_labels(small_cnn())
    journal = Journal(tmp_path / "journal", ["a"])
    journal.add(0, packed, StageRecord("stage", None, 0.0, 1))
    found = Journal(tmp_path / "journal", ["a"]).finished(0)[0]
    assert set(found.hints) == set(packed.hints)
    start = Packed.of(packed.network())
    recoded = Recode().apply(start, Context(packed.network(), given=packed)).packed
    assert set(recoded.hints) == set(packed.hints)


def test_inspecting_tells_the_blocks():
    packed = with_labels(small_cnn())
    stored = dict.fromkeys(packed.forms, 0)
    forms = {layer.name: layer.form for layer in layers_of(packed, stored)}
    blocks = "{} x {} blocks".format(*packed.hints["fc1.weight"].blocks)
    assert forms["fc1"] == f"sparse(codebook16), {blocks}"


def labelled(rows: int, columns: int, *axes: int) -> bytes:
    """The structure of a tensor with so many blocks, up to its form."""
    return shape(14, *axes) + varint(rows) + varint(columns)


HOSTILE = {
    "no blocks": (labelled(0, 1, 2, 2) + GRID, 4, ZERO * 3, Fault.BAD_INDEX),
    "more than rows": (labelled(3, 1, 2, 2) + GRID, 4, ZERO * 3, Fault.BAD_INDEX),
    "more than columns": (labelled(1, 3, 2, 2) + GRID, 4, ZERO * 3, Fault.BAD_INDEX),
    "too many pairs": (labelled(64, 17, 64, 64) + GRID, 64 * 64, ZERO * 3, Fault.TOO_LARGE),
    "a vector": (labelled(1, 1, 4) + GRID, 4, ZERO * 3, Fault.UNKNOWN_FORM),
    "nothing": (labelled(1, 1, 4, 0) + GRID, 0, b"", Fault.UNKNOWN_FORM),
    "labels in labels": (
        labelled(1, 1, 2, 2) + b"\x0e\x01\x01" + GRID, 4, ZERO * 5, Fault.UNKNOWN_FORM,
    ),
    "labels under a mask": (
        shape(3, 2, 2) + b"\x0e\x01\x01" + GRID, 4, ZERO * 4, Fault.UNKNOWN_FORM,
    ),
    "labels in a transform": (
        shape(5, 2, 2, 2, 2) + b"\x0e\x01\x01" + GRID, 16, ZERO * 3, Fault.UNKNOWN_FORM,
    ),
    "a mask of blocks": (
        labelled(1, 1, 4, 4) + b"\x0c\x02\x02\x01\x01" + GRID, 16, ZERO * 4, Fault.UNKNOWN_FORM,
    ),
    "a row's label": (labelled(2, 1, 2, 2) + GRID, 4, b"\x02\x01\x02" + ZERO * 2, Fault.BAD_INDEX),
    "a column's label": (
        labelled(1, 2, 2, 2) + GRID, 4, ZERO + b"\x02\x01\x02" + ZERO, Fault.BAD_INDEX,
    ),
    "no form": (labelled(1, 1, 2, 2), 4, ZERO * 2, Fault.TRUNCATED),
    "no labels": (labelled(1, 2, 2, 2) + GRID, 4, b"", Fault.TRUNCATED),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_no_writer_makes_is_refused(kind):
    structure, weights, chunk, fault = HOSTILE[kind]
    with pytest.raises(FormatError) as caught:
        loads(crafted(structure, weights, chunk).bytes())
    assert caught.value.fault is fault


def test_columns_have_the_same_labels_in_every_row_group():
    structure = labelled(1, 2, 2, 1 << 16) + GRID  # row groups of one row
    same = crafted(structure, 1 << 17, ZERO * 3, ZERO * 3)
    assert loads(same.bytes()).packed.hints["w"].blocks == (1, 1)
    other = crafted(structure, 1 << 17, ZERO * 3, ZERO + b"\x01\x01\x01" + ZERO)
    with pytest.raises(FormatError, match="other blocks") as caught:
        loads(other.bytes())
    assert caught.value.fault is Fault.BAD_INDEX
