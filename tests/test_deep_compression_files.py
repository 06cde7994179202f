"""Deep Compression's ``.net`` files: read and written to the byte, and recoded.

The oracle is ``net_files.py``, which follows the layout entry by entry.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import net_files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from net_files import Record, Table, net_bytes
from onnx_models import Maker

from reticule.cli import main
from reticule.codec import About, load, loads, save
from reticule.codec import dumps as dump
from reticule.engine import Model
from reticule.errors import ModelError, ReticuleError
from reticule.exchange import (
    load_deep_compression,
    read_deep_compression,
    save_deep_compression,
    without_a_place,
    write_deep_compression,
)
from reticule.exchange.net_layout import from_entries, pack, to_entries, unpack
from reticule.forms import Codebook, Dense, Form, Packed, Quantised, Sparse
from reticule.graph import Graph, Network, Node
from reticule.graph.onnx_in import from_onnx
from reticule.graph.onnx_out import to_onnx


def packed_of(table: Table, output: str) -> Packed:
    return Packed.of(table.network(output))


ALEXNET = net_files.alexnet()
ALEXNET_LIKE = packed_of(*ALEXNET)
ALEXNET_NET = net_bytes(net_files.records(ALEXNET[0]))
SMALL = net_files.squeezenet(part=8)
SMALL_LIKE = packed_of(*SMALL)
SMALL_NET = net_bytes(net_files.records(SMALL[0], seed=1))


def linear(outputs: int, inputs: int, *, bias: bool = True) -> Packed:
    """A network of one linear layer."""
    tensors = {"w": np.zeros((outputs, inputs), "f4")}
    if bias:
        tensors["b"] = np.zeros(outputs, "f4")
    nodes = (Node("Gemm", "fc", ("x", *tensors), ("y",)),)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return Packed.of(Network(Graph({"x": (inputs,)}, ("y",), nodes, shapes), tensors))


def with_weight(form: Form) -> Packed:
    packed = linear(*form.shape)
    return packed.with_forms({"w": form})


def record(entries: list[tuple[int, int]], outputs: int = 1, **changed: Any) -> Record:
    """A linear layer's record."""
    table = [0.0, *(float(i) for i in range(1, 16))]
    return replace(Record(4, table, [0.5] * outputs, entries), **changed)


# Reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "output", "seed"),
    [(*net_files.squeezenet(), 3), (*ALEXNET, 0), (*SMALL, 1)],
    ids=["squeezenet", "alexnet", "small"],
)
def test_reading_agrees_with_the_layout(table: Table, output: str, seed: int) -> None:
    data = net_bytes(net_files.records(table, seed))
    read = read_deep_compression(data, packed_of(table, output))
    expected = net_files.decoded(data, table.layers)
    assert list(read.packed.forms) == list(table.weights)
    for (name, form), values in zip(read.packed.forms.items(), expected, strict=True):
        assert form.dense().tobytes() == values.tobytes(), name
    assert sum(read.tensor_bytes.values()) == len(data)
    assert not read.kept
    assert write_deep_compression(read.packed) == data


def test_the_table_of_squeezenet_is_that_of_the_released_file() -> None:
    layers = net_files.squeezenet()[0].layers
    assert len(layers) == 26
    assert sum(prod(shape) for shape, _ in layers) == 1_244_448
    # entries, of which so many bytes: table, codebooks, biases; see the layout
    assert 4 * 26 + 26 * 1024 + 4 * sum(shape[0] for shape, _ in layers) == 104 + 26_624 + 15_904


def test_weights_are_sparse_codebooks_as_stored() -> None:
    read = read_deep_compression(ALEXNET_NET, ALEXNET_LIKE)
    first = net_files.records(ALEXNET[0])[0]
    form = read.packed.forms["conv1_w"]
    assert isinstance(form, Sparse) and isinstance(form.values, Codebook)
    assert form.values.centroids.dense().tolist() == first.codebook
    assert form.values.indices.tolist() == [code for gap, code in first.entries if code]


@pytest.mark.parametrize("bits", [8, 4])
def test_a_file_may_have_one_width_of_codes_throughout(bits: int) -> None:
    """The width is not in the file; it is found by the file's length."""
    table, output = ALEXNET
    rng = np.random.default_rng(5)
    entries = [
        [(int(rng.integers(2)), int(rng.integers(1, 16))) for _ in range(prod(shape) // 3)]
        for shape, _ in table.layers
    ]
    room = 1 << bits
    data = net_bytes(
        Record(bits, [0.0, *rng.random(room - 1)], rng.random(shape[0]).tolist(), chosen)
        for (shape, _), chosen in zip(table.layers, entries, strict=True)
    )
    read = read_deep_compression(data, packed_of(table, output))
    expected = net_files.decoded(data, [(shape, bits) for shape, _ in table.layers])
    for form, values in zip(read.packed.forms.values(), expected, strict=True):
        assert form.dense().tobytes() == values.tobytes()
    assert write_deep_compression(read.packed) == data


# Architectures --------------------------------------------------------------------------------


def test_matrices_that_onnx_has_the_other_way_round() -> None:
    """MatMul and Gemm without transB have (inputs, outputs), the layout (outputs, inputs)."""
    maker = Maker()
    x = maker.input("x", ["n", 6])
    x = maker.node("MatMul", x, maker.weight("first", 6, 5))
    x = maker.node("Gemm", x, maker.weight("second", 5, 4), maker.weight("second.bias", 4))
    like = Packed.of(from_onnx(maker.output(x).model()))
    rng = np.random.default_rng(0)
    records = [
        Record(4, [0.0, *rng.random(15)], rng.random(outputs).tolist(), [(0, 3), (1, 2), (15, 0)])
        for outputs in (5, 4)
    ]
    data = net_bytes(records)
    read = read_deep_compression(data, like)
    weights = net_files.decoded(data, [((5, 6), 4), ((4, 5), 4)])
    images = rng.standard_normal((3, 6)).astype("f4")
    hidden = images @ weights[0].T + weights[1]
    assert np.allclose(Model(read.packed)(images), hidden @ weights[2].T + weights[3], atol=1e-5)
    assert write_deep_compression(read.packed) == data


def test_a_bias_that_the_network_lacks_is_added_unless_it_is_zero() -> None:
    like = linear(2, 3, bias=False)
    data = net_bytes([record([(1, 7)], bias=[0.0, -2.5])])
    read = read_deep_compression(data, like)
    (node,) = read.packed.graph.nodes
    assert read.packed.forms[node.inputs[2]].dense().tolist() == [0.0, -2.5]
    assert write_deep_compression(read.packed) == data
    zero = net_bytes([record([(1, 7)], bias=[0.0, 0.0])])
    read = read_deep_compression(zero, like)
    assert read.packed.graph == like.graph
    assert sum(read.tensor_bytes.values()) == len(zero)
    assert write_deep_compression(read.packed) == zero
    negative = net_bytes([record([(1, 7)], bias=[-0.0, 0.0])])
    assert write_deep_compression(read_deep_compression(negative, like).packed) == negative


def test_a_bias_that_two_layers_share_is_divided() -> None:
    tensors = {name: np.ones(s, "f4") for name, s in (("v", (3, 3)), ("w", (3, 3)), ("b", (3,)))}
    nodes = (
        Node("Gemm", "one", ("x", "v", "b"), ("h",)),
        Node("Gemm", "two", ("h", "w", "b"), ("y",)),
    )
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    like = Packed.of(Network(Graph({"x": (3,)}, ("y",), nodes, shapes), tensors))
    data = net_bytes(record([(0, 1)], bias=bias) for bias in ([0.0, 0.0, 0.0], [1.0, 2.0, 3.0]))
    read = read_deep_compression(data, like)
    biases = [read.packed.forms[node.inputs[2]].dense() for node in read.packed.graph.nodes]
    assert [bias.tolist() for bias in biases] == [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]
    assert "b" not in read.packed.forms
    assert write_deep_compression(read.packed) == data
    assert write_deep_compression(like)[4 + 4 + 64 : 4 + 4 + 64 + 12] == struct.pack("<3f", 1, 1, 1)


def test_what_the_layout_has_no_place_for_stays_and_is_named() -> None:
    maker = Maker()
    x = maker.input("x", ["n", 2, 4, 4])
    x = maker.conv(x, "conv", 3, 2, 1, 1, bias=False)
    x = maker.batch_norm(x, "norm", 3)
    like = Packed.of(from_onnx(maker.output(x).model()))
    data = net_bytes([Record(8, [0.0, *range(255)], [0.0] * 3, [(1, 200)])])
    read = read_deep_compression(data, like)
    names = {f"norm.{part}" for part in ("weight", "bias", "running_mean", "running_var")}
    assert set(read.kept) == names == set(without_a_place(read.packed))
    for name in names:
        assert read.packed.forms[name] is like.forms[name]
    assert write_deep_compression(read.packed) == data


def test_a_network_without_layers_is_refused() -> None:
    nodes = (Node("Relu", "relu", ("x",), ("y",)),)
    empty = Packed(Graph({"x": (3,)}, ("y",), nodes, {}), {})
    for attempt in (
        lambda: read_deep_compression(b"", empty),
        lambda: write_deep_compression(empty),
    ):
        with pytest.raises(ModelError, match="no convolution and no linear layer"):
            attempt()


# Entries --------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_entries_come_back_byte_for_byte(data: st.DataObject) -> None:
    """Stored zeros and fillers without need included, and after a trip through a .ret file."""
    entries = data.draw(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=40))
    entries += [(15, 0)] * data.draw(st.integers(0, 3))
    size = sum(gap + 1 for gap, _ in entries) + data.draw(st.integers(0, 40))
    outputs = data.draw(st.sampled_from([n for n in range(1, 6) if not size % n] or [1]))
    like = linear(outputs, max(size // outputs, 1))
    table = data.draw(st.lists(st.sampled_from([-1.5, -0.0, 0.0, 0.25, 3.0]), min_size=15,
                               max_size=15))  # fmt: skip
    whole = net_bytes([record(entries, outputs, codebook=[0.0, *table])])
    read = read_deep_compression(whole, like)
    expected = net_files.decoded(whole, [(like.graph.tensors["w"], 4)])
    assert read.packed.forms["w"].dense().tobytes() == expected[0].tobytes()
    assert write_deep_compression(read.packed) == whole
    stored = loads(dump(read.packed, About())).packed
    assert write_deep_compression(stored) == whole


@pytest.mark.parametrize(
    ("entries", "fillers"),
    [
        ([], 0),
        ([(0, 5)], 0),
        ([(15, 0), (0, 5)], 1),  # a gap of 16
        ([(15, 0), (15, 0), (15, 5)], 2),
        ([(15, 5), (15, 0)], 0),  # nothing behind it
        ([(14, 0), (3, 5)], 0),  # a zero that was stored
        ([(15, 0), (2, 0), (0, 5)], 1),
    ],
)
def test_only_fillers_that_are_needed_disappear(entries: list, fillers: int) -> None:
    gaps, codes = np.array(entries, np.uint8).reshape(-1, 2).T
    positions, kept = from_entries(gaps, codes)
    assert kept.size == len(entries) - fillers
    again = to_entries(positions, kept)
    assert [a.tolist() for a in again] == [gaps.tolist(), codes.tolist()]


@given(st.lists(st.integers(0, 15), max_size=9))
def test_nibbles_come_back(numbers: list[int]) -> None:
    data = pack(np.array(numbers, np.uint8), 4)
    assert data == net_files.nibbles(numbers)
    assert unpack(data, len(numbers), 4).tolist() == numbers


def test_half_a_byte_that_is_not_used_may_hold_anything() -> None:
    data = bytearray(net_bytes([record([(1, 3), (2, 4), (0, 5)])]))
    like = linear(1, 9)
    clean = read_deep_compression(bytes(data), like)
    data[-1] |= 0xF0  # the fourth gap
    data[-3] |= 0xF0  # the fourth code
    read = read_deep_compression(bytes(data), like)
    assert read.packed.forms["w"].dense().tolist() == clean.packed.forms["w"].dense().tolist()


def test_a_cluster_without_weights_may_have_no_mean() -> None:
    data = net_bytes([record([(1, 3)], codebook=[0.0, 1.0, 2.0, 3.0, *[float("nan")] * 12])])
    read = read_deep_compression(data, linear(1, 9))
    assert read.packed.forms["w"].dense().tolist() == [[0.0, 3.0, *[0.0] * 7]]
    loads(dump(read.packed, About()))


# Writing other forms --------------------------------------------------------------------------

SIGNED_ZERO = np.array([[0.0, 1.5, -0.0], [1.5, -2.0, 0.0]], "f4")


@pytest.mark.parametrize(
    "form",
    [
        Dense(SIGNED_ZERO),
        Dense(SIGNED_ZERO.astype("f2")),
        Codebook(np.array([[0, 1, 2], [2, 1, 0]]), Dense(np.array([-1.0, 0.0, 0.5], "f2"))),
        Sparse.keep(SIGNED_ZERO, np.ones((2, 3), bool)),
        Sparse.at(SIGNED_ZERO != 0, Codebook(np.array([1, 0, 1]), Dense(np.ones(16, "f4")))),
        Quantised(np.array([[-7, 0, 7], [3, 0, 1]]), 0.125),
        Dense(np.arange(16, dtype="f4").reshape(2, 8)),
    ],
    ids=lambda form: form.name,
)
def test_forms_with_few_values_are_written_by_value(form: Form) -> None:
    packed = with_weight(form)
    data = write_deep_compression(packed)
    weight = net_files.decoded(data, [(form.shape, 4)])[0]
    assert weight.tobytes() == form.dense().tobytes()
    read = read_deep_compression(data, packed).packed
    assert read.forms["w"].dense().tobytes() == weight.tobytes()


def test_a_layer_with_too_many_values_is_named() -> None:
    packed = with_weight(Dense(np.arange(1, 17, dtype="f4").reshape(2, 8)))
    with pytest.raises(ModelError, match=r"layer 'fc' has 16 different weights.* room for 15"):
        write_deep_compression(packed)
    kernels = np.arange(1, 257, dtype="f4").reshape(256, 1, 1, 1)
    tensors = {"w": kernels}
    nodes = (Node("Conv", "conv", ("x", "w"), ("y",)),)
    graph = Graph({"x": (1, 4, 4)}, ("y",), nodes, {"w": kernels.shape})
    with pytest.raises(ModelError, match=r"layer 'conv' has 256 different .* room for 255"):
        write_deep_compression(Packed.of(Network(graph, tensors)))
    assert write_deep_compression(Packed.of(Network(graph, {"w": kernels - 1})))


# Hostile files --------------------------------------------------------------------------------


def test_a_file_that_is_cut_or_longer_is_refused() -> None:
    for length in {*range(60), *range(0, len(ALEXNET_NET), 37), len(ALEXNET_NET) - 1}:
        with pytest.raises(ModelError, match=r"^the data: (ends too early|layer '\w+' does not)"):
            read_deep_compression(ALEXNET_NET[:length], ALEXNET_LIKE)
    with pytest.raises(ModelError, match="1 bytes are left behind the last layer, 'fc8'"):
        read_deep_compression(ALEXNET_NET + b"\0", ALEXNET_LIKE)


@pytest.mark.parametrize(
    ("changed", "size", "complaint"),
    [
        (record([(0, 1)] * 10), 9, "layer 'fc' does not fit: 10 entries for 9 weights"),
        (record([(4, 1), (4, 1)]), 9, "an entry is at 9, behind its 9 weights"),
        (record([(15, 0)]), 15, "an entry is at 15"),
        (record([], codebook=[1.0] * 16), 9, "its codebook begins with 1, not with zero"),
        (record([], codebook=[float("nan")] * 16), 9, "its codebook begins with nan"),
        (record([], codebook=[-0.0] * 16), 9, "its codebook begins with -0"),
        (record([(0, 1)], codebook=[0.0, float("inf"), *[0.0] * 14]), 9, "a weight is NaN or inf"),
        (record([], bias=[float("nan")]), 9, "a bias is NaN or infinite"),
    ],
)
def test_what_does_not_fit_names_the_layer(changed: Record, size: int, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        read_deep_compression(net_bytes([changed]), linear(1, size))


def test_a_table_of_huge_layers_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ModelError, match="layer 'conv1' does not fit: 4294967295 entries for 600"):
        read_deep_compression(b"\xff" * 24, ALEXNET_LIKE)


def test_files_of_another_network_are_refused() -> None:
    with pytest.raises(ModelError, match="does not fit"):
        read_deep_compression(ALEXNET_NET, SMALL_LIKE)
    with pytest.raises(ModelError, match="does not fit"):
        read_deep_compression(SMALL_NET, ALEXNET_LIKE)


def test_changed_bytes_are_refused_or_read() -> None:
    """Never anything but ModelError, and what is read can be written again."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        data = bytearray(ALEXNET_NET)
        for place in rng.integers(0, len(data), rng.integers(1, 5)):
            data[place] = rng.integers(256)
        try:
            read = read_deep_compression(bytes(data), ALEXNET_LIKE)
        except ModelError as problem:
            assert "\n" not in str(problem)
            refused += 1
        else:
            assert len(write_deep_compression(read.packed)) == len(data)
    assert 0 < refused < 400


def test_files_on_disk(tmp_path: Path) -> None:
    read = read_deep_compression(ALEXNET_NET, ALEXNET_LIKE)
    path = tmp_path / "alexnet.net"
    save_deep_compression(read.packed, path)
    assert path.read_bytes() == ALEXNET_NET
    again = load_deep_compression(path, ALEXNET_LIKE)
    assert again.tensor_bytes == read.tensor_bytes
    path.write_bytes(ALEXNET_NET + b"12")
    with pytest.raises(ModelError, match=r"alexnet\.net: 2 bytes are left"):
        load_deep_compression(path, ALEXNET_LIKE)
    with pytest.raises(ReticuleError, match=r"nowhere\.net: cannot be read"):
        load_deep_compression(tmp_path / "nowhere.net", ALEXNET_LIKE)


# Commands -------------------------------------------------------------------------------------

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process: exit code, standard output, standard error."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        code = exit_info.value.code
        return code if isinstance(code, int) else 0, out, err

    return run_command


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A .net file, and the ONNX file that has its architecture."""
    net, onnx = tmp_path / "alexnet.net", tmp_path / "alexnet.onnx"
    net.write_bytes(ALEXNET_NET)
    to_onnx(ALEXNET_LIKE.network(), onnx)
    return net, onnx


def same_weights(a: Packed, b: Packed) -> bool:
    return {n: f.dense().tobytes() for n, f in a.forms.items()} == {
        n: f.dense().tobytes() for n, f in b.forms.items()
    }


def test_a_file_is_recoded_and_exported_again(run: Run, files: tuple[Path, Path]) -> None:
    pytest.importorskip("torch")
    net, onnx = files
    ret, back = net.with_name("out.ret"), net.with_name("back.net")
    code, out, err = run("compress", net, "--like", onnx, "-o", ret, "--json")
    assert code == 0, err
    figures = json.loads(out.splitlines()[-1])
    assert figures["recipe"] == "recode" and figures["bytes_file"] == ret.stat().st_size
    like = Packed.of(from_onnx(onnx))
    assert same_weights(load(ret).packed, read_deep_compression(ALEXNET_NET, like).packed)
    code, out, err = run("export", ret, "-o", back)
    assert code == 0 and "equal, bit for bit" in out, err
    assert same_weights(read_deep_compression(back.read_bytes(), like).packed, load(ret).packed)


def test_with_its_codebooks_kept_a_file_comes_back_byte_for_byte(
    run: Run, files: tuple[Path, Path]
) -> None:
    pytest.importorskip("torch")
    net, onnx = files
    ret, back, recipe = (net.with_name(name) for name in ("out.ret", "back.net", "kept.yaml"))
    recipe.write_text("name: kept\nstages: [{method: recode, codebooks: kept}]", "utf-8")
    assert run("compress", net, "--like", onnx, "-o", ret, "--recipe", recipe)[0] == 0
    assert run("export", ret, "-o", back)[0] == 0
    assert back.read_bytes() == ALEXNET_NET


def test_a_recoded_file_keeps_forms_and_labels(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    old, new = tmp_path / "old.ret", tmp_path / "new.ret"
    table = Dense(np.array([0.5, -1.0, 2.0, -1.0], "f2"))
    form = Sparse.at(np.eye(4, 9, dtype=bool), Codebook(np.array([3, 1, 1, 2]), table))
    packed = with_weight(form)
    save(old, packed, About(labels=tuple("abcd")))
    assert run("compress", old, "-o", new, "--recipe", "recode")[0] == 0
    stored = load(new)
    assert stored.about.labels == tuple("abcd")
    assert same_weights(stored.packed, packed)
    recoded = stored.packed.forms["w"]
    assert isinstance(recoded, Sparse) and isinstance(recoded.values, Codebook)
    centroids = recoded.values.centroids
    assert isinstance(centroids, Dense) and centroids.values.dtype == np.float16
    assert centroids.values.tolist() == [-1.0, 2.0]


ZEROS = np.array([2.0, -0.0, 0.0, -3.0, 2.0, 7.0], "f4")


@pytest.mark.parametrize(
    ("form", "centroids"),
    [
        (Codebook(np.array([[0, 1, 2], [3, 4, 1]]), Dense(ZEROS)), [-3.0, -0.0, 0.0, 2.0]),
        (Codebook(np.array([[4, 0, 4]]), Dense(ZEROS.astype("f2"))), [2.0]),
        (Sparse.at(np.eye(2, 3) > 0, Codebook(np.array([2, 1]), Dense(ZEROS))), [-0.0]),
        (Sparse.at(np.eye(2, 3) > 0, Codebook(np.array([2, 2]), Dense(ZEROS))), []),
        (Sparse.at(np.zeros((2, 3), bool), Codebook(np.zeros(0, int), Dense(ZEROS))), []),
    ],
    ids=["all", "half", "stored zero", "only zeros", "empty"],
)
def test_sorted_codebooks_change_no_weight(form: Form, centroids: list[float]) -> None:
    pytest.importorskip("torch")
    from reticule.methods import METHODS, Context

    packed = with_weight(form)
    plain = packed.network()
    made = METHODS["recode"]().apply(Packed.of(plain), Context(plain, given=packed)).packed
    assert same_weights(made, packed)
    assert same_weights(loads(dump(made, About())).packed, packed)
    recoded = made.forms["w"]
    inner = recoded.values if isinstance(recoded, Sparse) else recoded
    assert isinstance(inner, Codebook)
    assert inner.centroids.dense().tobytes() == np.array(centroids, "f4").tobytes()


def test_what_an_earlier_stage_changed_is_not_brought_back() -> None:
    pytest.importorskip("torch")
    from reticule.methods import METHODS, Context

    given = with_weight(Codebook(np.array([[0, 1]]), Dense(np.array([1.0, 2.0], "f4"))))
    changed = with_weight(Dense(np.array([[1.0, 2.5]], "f4")))
    context = Context(given.network(), given=given)
    outcome = METHODS["recode"](codebooks="kept").apply(changed, context)  # type: ignore[call-arg]
    assert outcome.packed.forms["w"] is changed.forms["w"]
    assert outcome.packed.forms["b"] is given.forms["b"]
    assert outcome.skipped == {"w": "changed by an earlier stage"}


def test_inspect_and_eval_read_them_too(run: Run, files: tuple[Path, Path]) -> None:
    net, onnx = files
    figures = json.loads(run("inspect", net, "--like", onnx, "--json")[1])
    assert [layer["bytes"] for layer in figures["layers"]]
    assert sum(layer["bytes"] for layer in figures["layers"]) == figures["bytes_weights"]
    assert figures["bytes_weights"] == figures["bytes_file"] == len(ALEXNET_NET)
    images = net.with_name("images.npz")
    np.savez(images, images=np.zeros((4, 3, 16, 16), np.uint8), labels=np.arange(4))
    figures = json.loads(run("eval", net, "--like", onnx, "--data", images, "--json")[1])
    assert figures["n"] == 4 and figures["accuracy"] == 25.0


def test_bad_commands_are_one_line(run: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    net, onnx = files
    ret = tmp_path / "dense.ret"
    save(ret, ALEXNET_LIKE, About())
    before = {path.name for path in tmp_path.iterdir()}
    for arguments, complaint in [
        (("inspect", net), "a .net file has no architecture; name the network .* --like"),
        (("inspect", net, "--like", net), "a .net file has no architecture"),
        (("inspect", tmp_path / "no.net", "--like", onnx), "no.net: no such file"),
        (("inspect", net, "--like", tmp_path / "no.onnx"), "no.onnx"),
        (("inspect", onnx, "--like", onnx), "--like .*: is for .net files"),
        (("compress", ret, "--like", onnx, "-o", tmp_path / "x.ret"), "is for .net files"),
        (("export", ret, "-o", tmp_path / "x.net"), "layer 'conv1' has 600 different weights"),
    ]:
        code, out, err = run(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert re.search(complaint, err), err
    assert {path.name for path in tmp_path.iterdir()} == before


def test_export_says_what_it_leaves_out(run: Run, tmp_path: Path) -> None:
    nodes = (
        Node("Conv", "conv", ("x", "w"), ("h",)),
        Node("BatchNormalization", "norm", ("h", "scale", "shift", "mean", "var"), ("y",)),
    )
    tensors = {name: np.ones(3, "f4") for name in ("scale", "shift", "mean", "var")}
    tensors["w"] = np.ones((3, 1, 1, 1), "f4")
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    ret = tmp_path / "normed.ret"
    graph = Graph({"x": (1, 4, 4)}, ("y",), nodes, shapes)
    save(ret, Packed.of(Network(graph, tensors)), About())
    code, out, err = run("export", ret, "-o", tmp_path / "out.net")
    assert code == 0 and "no place for 4 of its tensors (scale, shift, mean, ...)" in err
    assert "all 1 tensors" in out
