"""The ``.ret`` file: what goes in comes out, bytes add up, and bad files say why.

Bad files of which the checksums are wrong or missing are here; those that are bad behind
right checksums, on purpose, are in ``attacks/``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from codec_mutations import Parts, crafted, deflate, shape, varint
from codec_samples import (
    SAMPLES,
    described,
    packed_of,
    quantised,
    same_form,
    several_chunks,
    small_cnn,
)

from reticule.codec import About, Limits, dumps, encode_weights, load, loads, save, size_of
from reticule.codec.chunks import PRESETS
from reticule.codec.container import load_tensor
from reticule.errors import Fault, FormatError, ModelError, ReticuleError
from reticule.forms import Codebook, Dense, Form, Packed, Quantised, Sparse, Spectral
from reticule.graph import Graph, Node

ATTACKS = json.loads((Path(__file__).parents[1] / "attacks/expected.json").read_text("utf-8"))
every_preset = pytest.mark.parametrize("preset", PRESETS)


def faulty(data: bytes, limits: Limits | None = None) -> Fault:
    """What is wrong with a file; the message must be one line that names it."""
    with pytest.raises(FormatError) as caught:
        loads(data, limits or Limits(), "some.ret")
    message = str(caught.value)
    assert "\n" not in message and message.startswith("some.ret")
    return caught.value.fault


# What is stored -------------------------------------------------------------------------------


@cache
def encoded(sample: str, preset: str) -> bytes:
    return dumps(SAMPLES[sample](), described(), preset)


@every_preset
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_file_gives_back_graph_forms_and_description(sample, preset, tmp_path):
    packed = SAMPLES[sample]()
    saved = save(tmp_path / "net.ret", packed, described(), preset)
    loaded = load(tmp_path / "net.ret")
    assert loaded.about == described()
    assert loaded.preset == saved.preset == preset
    graph, found = packed.graph, loaded.packed.graph
    assert (found.inputs, found.outputs, found.tensors) == (
        graph.inputs,
        graph.outputs,
        graph.tensors,
    )
    assert list(found.tensors) == list(graph.tensors)
    for one, other in zip(graph.nodes, found.nodes, strict=True):
        assert replace(one, attributes={}) == replace(other, attributes={})
        assert repr(one.settings) == repr(other.settings)
    for name, form in packed.forms.items():
        assert same_form(form, loaded.packed.forms[name]), name
    assert saved.bytes_file == loaded.bytes_file == (tmp_path / "net.ret").stat().st_size
    assert saved.tensor_bytes == loaded.tensor_bytes
    assert (saved.bytes_weights, saved.bytes_coded) == (loaded.bytes_weights, loaded.bytes_coded)


@every_preset
@pytest.mark.parametrize("sample", SAMPLES)
def test_tensor_bytes_add_up_to_the_weight_section(sample, preset):
    data = encoded(sample, preset)
    loaded, parts = loads(data), Parts.of(data)
    assert sum(loaded.tensor_bytes.values()) == loaded.bytes_weights < loaded.bytes_file
    assert min(loaded.tensor_bytes.values()) > 0
    assert loaded.bytes_coded == sum(map(len, parts.chunks)) < loaded.bytes_weights
    assert parts.weights == sum(form.size for form in loaded.packed.forms.values())
    assert list(loaded.tensor_bytes) == list(loaded.packed.graph.tensors)
    assert sum(loaded.part_bytes.values()) == loaded.bytes_file
    assert min(loaded.part_bytes.values()) >= 0 < loaded.part_bytes["header"]


@every_preset
def test_parts_say_what_bytes_are_good_for(preset):
    rng = np.random.default_rng(0)
    graph = Graph({"x": (64,)}, ("y",), (Node("Gemm", "fc", ("x", "w", "b"), ("y",)),),
                  {"w": (48, 64), "b": (48,)})  # fmt: skip
    mask = rng.random((48, 64)) < 0.3
    table = Dense(rng.standard_normal(16).astype("f4"))
    weight = Sparse.at(mask, Codebook(rng.integers(0, 16, int(mask.sum())), table))
    bias = Dense(rng.standard_normal(48).astype("f4"))
    parts = loads(dumps(Packed(graph, {"w": weight, "b": bias}), About(), preset)).part_bytes
    entropy = -(0.3 * np.log2(0.3) + 0.7 * np.log2(0.7)) * mask.size / 8
    assert parts["index"] == pytest.approx(entropy, rel=0.15)
    assert parts["weights"] == pytest.approx(mask.sum() / 2, rel=0.15)
    assert parts["codebook"] == pytest.approx(64, rel=0.25)
    assert parts["bias"] == pytest.approx(4 * 48, rel=0.25)


@every_preset
def test_a_tensor_is_charged_with_what_it_takes(preset):
    """A tensor of noise takes its bits, a constant one next to nothing."""
    rng = np.random.default_rng(0)
    noise = Dense(rng.integers(0, 0x7F80_0000, (40, 25), np.uint32).view("f4"))
    packed = packed_of({"constant": Quantised(np.ones((400, 9), int), 1.0), "noise": noise})
    sizes = loads(dumps(packed, About(), preset)).tensor_bytes
    assert sizes["constant"] < 200 and abs(sizes["noise"] - 4000) < 200


@every_preset
def test_the_same_network_gives_the_same_bytes_and_encoding_again_changes_nothing(preset, tmp_path):
    data = dumps(small_cnn(), described(), preset)
    assert dumps(small_cnn(), described(), preset) == data
    loaded = loads(data)
    assert dumps(loaded.packed, loaded.about, loaded.preset) == data
    save(tmp_path / "net.ret", small_cnn(), described(), preset)
    assert (tmp_path / "net.ret").read_bytes() == data


# Chunks ---------------------------------------------------------------------------------------


@every_preset
def test_any_number_of_threads_decodes_the_same(preset):
    packed = several_chunks()
    data = encoded("chunks", preset)
    assert len(Parts.of(data).chunks) >= 4
    for threads in (1, 4):
        loaded = loads(data, threads=threads)
        assert all(
            same_form(form, loaded.packed.forms[name]) for name, form in packed.forms.items()
        )
        assert loaded.tensor_bytes == loads(data).tensor_bytes


@every_preset
@pytest.mark.parametrize("sample", SAMPLES)
def test_one_tensor_can_be_loaded_by_itself(sample, preset, tmp_path):
    packed = SAMPLES[sample]()
    (tmp_path / "net.ret").write_bytes(encoded(sample, preset))
    for name, form in packed.forms.items():
        assert same_form(load_tensor(tmp_path / "net.ret", name), form), name
    with pytest.raises(ReticuleError, match=r"net\.ret: there is no tensor 'missing'"):
        load_tensor(tmp_path / "net.ret", "missing")


@every_preset
def test_damage_is_the_damage_of_one_chunk(preset, tmp_path):
    packed = several_chunks()
    data = bytearray(encoded("chunks", preset))
    data[-10] ^= 1  # in the last chunk, which ends with the tensor 'last'
    (tmp_path / "net.ret").write_bytes(data)
    with pytest.raises(FormatError, match="is damaged") as caught:
        load(tmp_path / "net.ret")
    assert caught.value.fault is Fault.CHECKSUM and "'last'" in str(caught.value)
    with pytest.raises(FormatError, match="is damaged"):
        load_tensor(tmp_path / "net.ret", "last")
    for name in ("first", "path", "between", "kept"):
        assert same_form(load_tensor(tmp_path / "net.ret", name), packed.forms[name])


@every_preset
def test_the_first_bad_chunk_is_reported_whatever_the_threads(preset):
    parts = Parts.of(encoded("chunks", preset))
    damaged = replace(parts, chunks=tuple(chunk[:-1] for chunk in parts.chunks)).bytes()
    messages = set()
    for threads in (1, 2, 4):
        with pytest.raises(FormatError) as caught:
            loads(damaged, threads=threads)
        messages.add(str(caught.value))
    assert len(messages) == 1


# What a file may cost -------------------------------------------------------------------------


def resnet_like() -> Packed:
    """The tensors of a ResNet-20 after post-training compression: 20 layers and their biases."""
    rng = np.random.default_rng(0)
    widths = [16] * 7 + [32] * 6 + [64] * 6
    forms: dict[str, Form] = {}
    before = 3
    for index, width in enumerate(widths):
        levels = quantised(rng, (width, before, 3, 3), 8, 0.8, 0.031 + index / 1000)
        forms[f"conv{index}.weight"] = Spectral(levels)
        bias = np.rint(rng.normal(scale=60, size=width)).astype(int)
        forms[f"conv{index}.bias"] = Quantised(bias, float(np.float32(0.004 + index / 999)))
        before = width
    forms["fc.weight"] = quantised(rng, (10, 64), 8)
    forms["fc.bias"] = Quantised(np.arange(10), 0.3)
    return packed_of(forms)


@every_preset
def test_what_is_not_coded_weights_is_few_bytes_for_each_tensor(preset):
    packed = resnet_like()
    loaded = loads(dumps(packed, About(), preset))
    assert loaded.bytes_weights - loaded.bytes_coded <= 12 * len(packed.forms)


@every_preset
def test_a_tiny_network_fits_in_a_kilobyte(preset):
    rng = np.random.default_rng(0)
    forms: dict[str, Form] = {
        "conv1.weight": quantised(rng, (4, 1, 3, 3), 8, 1.0),
        "conv1.bias": Quantised(np.arange(4), 0.01),
        "conv2.weight": quantised(rng, (8, 4, 3, 3), 8, 1.0),
        "conv2.bias": Quantised(np.arange(8), 0.01),
        "fc.weight": quantised(rng, (10, 72), 8, 1.0),
        "fc.bias": Quantised(np.arange(10), 0.01),
    }
    nodes = (
        Node("Conv", "conv1", ("x", "conv1.weight", "conv1.bias"), ("a",), {"strides": (2, 2)}),
        Node("Relu", "relu1", ("a",), ("b",)),
        Node("Conv", "conv2", ("b", "conv2.weight", "conv2.bias"), ("c",), {"strides": (3, 3)}),
        Node("Relu", "relu2", ("c",), ("d",)),
        Node("Flatten", "flat", ("d",), ("e",)),
        Node("Gemm", "fc", ("e", "fc.weight", "fc.bias"), ("y",)),
    )
    shapes = {name: form.shape for name, form in forms.items()}
    graph = Graph({"x": (1, 20, 20)}, ("y",), nodes, shapes).check()
    assert sum(form.size for form in forms.values()) > 1000
    assert len(dumps(Packed(graph, forms), About(seed=1), preset)) <= 1024


# Metadata -------------------------------------------------------------------------------------


def test_a_file_says_nothing_about_its_maker():
    metadata = json.loads(Parts.of(dumps(small_cnn(), About(), "instant")).metadata)
    assert set(metadata) == {"inputs", "outputs", "nodes"}


def test_metadata_leaves_out_what_follows_from_the_rest():
    packed, about = small_cnn(), described()
    metadata = json.loads(Parts.of(dumps(packed, about, "instant")).metadata)
    assert set(metadata) == {"inputs", "outputs", "nodes", "about"}
    assert metadata["nodes"][1][2][0] == 1  # the node before
    turned = {name: packed.forms[name] for name in reversed(packed.graph.tensors)}
    shapes = {name: form.shape for name, form in turned.items()}
    packed = Packed(replace(packed.graph, tensors=shapes), turned)
    metadata = json.loads(Parts.of(dumps(packed, about, "instant")).metadata)
    assert metadata["tensors"] == list(turned)
    assert list(loads(dumps(packed, about, "instant")).packed.graph.tensors) == list(turned)


def test_metadata_of_a_network_is_small():
    """A line of 60 layers with the names that exporters give takes a few bytes for each."""
    nodes, before, forms = [], "x", {}
    for index in range(60):
        weight = f"layer{index // 20}.{index // 2 % 10}.conv{index % 2 + 1}.weight"
        forms[weight] = Dense(np.ones((4, 4, 3, 3), "f4"))
        out = f"node_Conv_{index}"
        nodes.append(Node("Conv", out, (before, weight), (out,), {"pads": (1, 1, 1, 1)}))
        before = out
    shapes = {name: form.shape for name, form in forms.items()}
    graph = Graph({"x": (4, 8, 8)}, (before,), tuple(nodes), shapes).check()
    loaded = loads(dumps(Packed(graph, forms), About(), "instant"))
    assert loaded.bytes_file - loaded.bytes_weights < 8 * len(nodes)


def test_attributes_with_their_default_are_left_out():
    metadata = json.loads(Parts.of(dumps(small_cnn(), About(), "instant")).metadata)
    attributes = {
        node[1]: (node[-1] if isinstance(node[-1], dict) else {}) for node in metadata["nodes"]
    }
    assert attributes["clip"] == {"min": 0.0}
    assert attributes["leaky"] == {"alpha": -0.0} and attributes["flat"] == {}


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 0.1, 1e-300, -0.0])
def test_any_number_may_be_an_attribute(value):
    packed = packed_of({"w": Dense(np.ones(1, "f4"))})
    nodes = (Node("Clip", "clip", ("x",), ("y",), {"min": value, "max": 6}),)
    packed = replace(packed, graph=replace(packed.graph, nodes=nodes))
    settings = loads(dumps(packed, About(), "instant")).packed.graph.nodes[0].settings
    assert repr(settings) == repr({"min": value, "max": 6.0})


# What cannot be stored ------------------------------------------------------------------------


def test_what_cannot_be_read_again_is_not_written():
    packed = small_cnn()
    without = Packed(packed.graph, {k: v for k, v in packed.forms.items() if k != "fc1.bias"})
    with pytest.raises(ModelError, match=r"fc1\.bias"):
        dumps(without, About())
    with pytest.raises(ModelError, match=r"fc1\.bias"):
        dumps(packed.with_forms({"fc1.bias": Dense(np.zeros(3, "f4"))}), About())
    for about in (
        About(recipe={"x": object()}),
        About(accuracy={"x": float("nan")}),
        About(labels=("a\nb",)),
        About(labels=("\ud800",)),
        About(seed=2**64),
        About(labels=("x" * 2000,)),
    ):
        with pytest.raises(ReticuleError):
            dumps(packed, about)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "net.ret"
    target.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, full)
            with pytest.raises(ReticuleError, match=r"net\.ret: cannot be written"):
                save(target, small_cnn(), About())
        assert target.read_bytes() == b"old"
        assert [path.name for path in tmp_path.iterdir()] == ["net.ret"]
    with pytest.raises(ReticuleError, match="cannot be written"):
        save(tmp_path / "missing" / "net.ret", small_cnn(), About())


def test_files_that_cannot_be_opened_are_named(tmp_path):
    for path in (tmp_path / "missing.ret", tmp_path, "null\0.ret"):
        with pytest.raises(ReticuleError, match="cannot be read"):
            load(path)


# Every fault ----------------------------------------------------------------------------------

GOOD = dumps(small_cnn(), described(), "instant")
PARTS = Parts.of(GOOD)
FIRST = PARTS.tensors[0]  # conv.weight: rank 4, shape (6, 1, 3, 3), a dense form
CHUNK = PARTS.chunks[0]


def with_first(structure: bytes, weights: int = 0) -> bytes:
    tensors = (structure, *PARTS.tensors[1:])
    return replace(PARTS, tensors=tensors, weights=PARTS.weights + weights).bytes()


def with_json(**changes: object) -> bytes:
    text = json.dumps({**json.loads(PARTS.metadata), **changes})
    return replace(PARTS, metadata=text.encode()).bytes()


def forged(name: str, value: int) -> bytes:
    return replace(PARTS, forged=((name, value),)).bytes()


NODE = json.loads(PARTS.metadata)["nodes"][0]
NAMES = list(small_cnn().graph.tensors)
FAULTS = {
    "empty": (b"", Fault.NOT_RET),
    "other file": (b"\x89PNG" + GOOD[4:], Fault.NOT_RET),
    "past": (GOOD[:4] + b"\x01" + GOOD[5:], Fault.VERSION),
    "future": (GOOD[:4] + b"\x63" + GOOD[5:], Fault.VERSION),
    "only magic": (GOOD[:4], Fault.TRUNCATED),
    "cut": (GOOD[:-1], Fault.TRUNCATED),
    "longer": (GOOD + b"\0", Fault.TRAILING),
    "metadata bit": (GOOD[:20] + bytes([GOOD[20] ^ 1]) + GOOD[21:], Fault.CHECKSUM),
    "weight bit": (GOOD[:-9] + bytes([GOOD[-9] ^ 1]) + GOOD[-8:], Fault.CHECKSUM),
    "padded integer": (GOOD[:5] + b"\x80\x00" + GOOD[6:], Fault.TOO_LARGE),
    "endless integer": (GOOD[:5] + b"\xff" * 20 + GOOD[6:], Fault.TOO_LARGE),
    "huge metadata": (forged("inflated", 2**40), Fault.TOO_LARGE),
    "huge weights": (replace(PARTS, weights=2**40).bytes(), Fault.TOO_LARGE),
    "inflates to more": (forged("inflated", 9), Fault.METADATA),
    "no deflate": (replace(PARTS, deflated=b"\xff" * 9).bytes(), Fault.METADATA),
    "no JSON": (replace(PARTS, metadata=b"{]").bytes(), Fault.METADATA),
    "no UTF-8": (replace(PARTS, metadata=b'{"\xff":1}').bytes(), Fault.METADATA),
    "NaN": (replace(PARTS, metadata=b"NaN").bytes(), Fault.METADATA),
    "long number": (replace(PARTS, metadata=b"7" * 9999).bytes(), Fault.METADATA),
    "deep": (replace(PARTS, metadata=b"[" * 99_999 + b"]" * 99_999).bytes(), Fault.METADATA),
    "many items": (replace(PARTS, metadata=b"[" + b"0," * 2**18).bytes(), Fault.TOO_LARGE),
    "twice": (replace(PARTS, metadata=b'{"about":{},"about":{}}').bytes(), Fault.METADATA),
    "field missing": (replace(PARTS, metadata=b'{"about":{}}').bytes(), Fault.METADATA),
    "unknown field": (with_json(date="today"), Fault.METADATA),
    "unknown about": (with_json(about={"host": "x"}), Fault.METADATA),
    "true is no seed": (with_json(about={"seed": True}), Fault.METADATA),
    "nested accuracy": (with_json(about={"accuracy": {"a": [1]}}), Fault.METADATA),
    "infinite accuracy": (
        replace(PARTS, metadata=PARTS.metadata.replace(b"99.25", b"1e999")).bytes(),
        Fault.METADATA,
    ),
    "label is a number": (with_json(about={"labels": [1]}), Fault.METADATA),
    "control characters": (with_json(about={"labels": ["\x1b[31m"]}), Fault.METADATA),
    "scale is zero": (
        with_json(about={"preprocessing": {"scale": 0, "mean": [0], "std": [1]}}),
        Fault.METADATA,
    ),
    "rank of an input": (with_json(inputs={"x": [1] * 9}), Fault.TOO_LARGE),
    "size of an input": (with_json(inputs={"x": [2**20, 2**20, 0]}), Fault.TOO_LARGE),
    "unknown operator": (with_json(nodes=[["Rm", *NODE[1:]]]), Fault.GRAPH),
    "unknown attribute": (with_json(nodes=[[*NODE[:4], {"x": 1}]]), Fault.METADATA),
    "attribute of another type": (with_json(nodes=[[*NODE[:4], {"pads": 1}]]), Fault.METADATA),
    "attribute of another length": (
        with_json(nodes=[[*NODE[:4], {"pads": [1]}]], tensors=NAMES), Fault.GRAPH,
    ),
    "parts of a node": (with_json(nodes=[NODE[:2]]), Fault.METADATA),
    "too many parts of a node": (with_json(nodes=[[*NODE[:3], {}, {}]]), Fault.METADATA),
    "steps back to nowhere": (with_json(nodes=[["Relu", "y", [1]]]), Fault.GRAPH),
    "no steps back": (with_json(nodes=[["Relu", "y", [0]]]), Fault.METADATA),
    "shapes clash": (with_json(inputs={"x": [2, 6, 6]}), Fault.GRAPH),
    "no output": (with_json(outputs=["nothing"]), Fault.GRAPH),
    "cycle": (with_json(nodes=[["Relu", "y", ["y"]]], tensors=NAMES), Fault.GRAPH),
    "same name twice": (with_json(tensors=["w", "w"]), Fault.GRAPH),
    "head too long": (forged("head", 2**20), Fault.TRUNCATED),
    "section too long": (forged("section", len(GOOD)), Fault.TRUNCATED),
    "weights differ": (replace(PARTS, weights=PARTS.weights + 1).bytes(), Fault.TENSORS),
    "tensor lacks": (replace(PARTS, tensors=PARTS.tensors[:-1]).bytes(), Fault.TRUNCATED),
    "tensor too many": (replace(PARTS, tensors=(*PARTS.tensors, FIRST)).bytes(), Fault.TRAILING),
    "tensors swapped": (replace(PARTS, tensors=PARTS.tensors[::-1]).bytes(), Fault.GRAPH),
    "structure does not inflate": (replace(PARTS, structure=b"\xff" * 9).bytes(), Fault.TENSORS),
    "structure inflates to more": (forged("structure", 9), Fault.TENSORS),
    "structure goes on": (
        replace(PARTS, structure=deflate(b"".join(PARTS.tensors)) + b"\0").bytes(),
        Fault.TENSORS,
    ),
    "chunk lacks": (replace(PARTS, chunks=()).bytes(), Fault.TRUNCATED),
    "chunk too many": (replace(PARTS, chunks=(CHUNK, CHUNK)).bytes(), Fault.TRAILING),
    "chunk's length too long": (forged("chunk 0", len(CHUNK) + 1), Fault.TRUNCATED),
    "chunk's length too short": (forged("chunk 0", len(CHUNK) - 1), Fault.TRAILING),
    "chunk too long": (replace(PARTS, chunks=(CHUNK + b"\0",)).bytes(), Fault.TRAILING),
    "chunk too short": (replace(PARTS, chunks=(CHUNK[:20],)).bytes(), Fault.TRUNCATED),
    "rank": (with_first(b"\x0f" + b"\1" * 15), Fault.TOO_LARGE),
    "unknown form": (with_first(varint(4 + 16 * 77) + FIRST[1:]), Fault.UNKNOWN_FORM),
    "unknown preset": (replace(PARTS, kind=PARTS.kind | 3).bytes(), Fault.UNKNOWN_CODER),
    "unknown coder": (crafted(shape(0, 1), 1, b"\x4d").bytes(), Fault.UNKNOWN_CODER),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_every_way_to_be_bad_has_its_fault(name):
    data, fault = FAULTS[name]
    assert faulty(data) is fault


def test_every_fault_is_covered():
    elsewhere = {Fault.BAD_TABLE, Fault.BAD_STREAM, Fault.BAD_INDEX, Fault.BAD_VALUE}
    assert elsewhere <= {Fault[name] for name in ATTACKS.values()}  # test_codec_attacks.py
    assert {fault for _, fault in FAULTS.values()} | elsewhere == set(Fault)


def test_taking_a_file_apart_and_together_changes_nothing():
    again = loads(PARTS.bytes()).packed.forms
    assert all(same_form(form, again[name]) for name, form in small_cnn().forms.items())
    assert faulty(GOOD, Limits(elements=100)) is Fault.TOO_LARGE
    assert faulty(GOOD, Limits(nodes=3)) is Fault.TOO_LARGE
    assert faulty(GOOD, Limits(tensors=3)) is Fault.TOO_LARGE


def test_a_bomb_of_metadata_is_not_inflated():
    bomb = deflate(bytes(2**26))
    for length in (2**22, 2**26):
        data = replace(PARTS, deflated=bomb, forged=(("inflated", length),)).bytes()
        tracemalloc.start()
        assert faulty(data) in (Fault.METADATA, Fault.TOO_LARGE)
        assert tracemalloc.get_traced_memory()[1] < 2**24
        tracemalloc.stop()


def test_loading_allocates_little_more_than_the_weights(tmp_path):
    rng = np.random.default_rng(0)
    packed = packed_of({"w": Dense(rng.normal(size=(1000, 500)).astype("f4"))})
    save(tmp_path / "net.ret", packed, About())
    tracemalloc.start()
    loaded = load(tmp_path / "net.ret")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 4 * loaded.packed.forms["w"].size


def test_the_codec_imports_neither_torch_nor_scipy_nor_onnx():
    code = (
        "import sys, reticule.codec; "
        "print([m for m in ('torch', 'scipy', 'onnx', 'pyarrow', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@every_preset
@pytest.mark.parametrize("sample", SAMPLES)
def test_weights_that_were_coded_once_serve_for_any_description(sample, preset):
    packed = SAMPLES[sample]()
    weights = encode_weights(packed, preset)
    for about in (described(), About(), About(seed=7)):
        data = dumps(packed, about, preset)
        assert dumps(packed, about, preset, weights) == data
        assert size_of(packed, about, preset, weights) == len(data)


def test_weights_of_another_network_are_refused():
    rng = np.random.default_rng(0)
    one, other = (packed_of({"w": Dense(rng.normal(size=(9, 9)).astype("f4"))}) for _ in "ab")
    weights = encode_weights(one, "fast")
    for packed, preset in ((other, "fast"), (one, "small")):
        with pytest.raises(ValueError, match="coded"):
            dumps(packed, About(), preset, weights)


@every_preset
def test_a_file_does_not_tell_how_many_threads_wrote_it(preset):
    rng = np.random.default_rng(0)
    levels = np.rint(rng.laplace(0, 2, (900, 700))).astype(np.int32)
    floats = rng.normal(size=(500, 400)).astype("f4")
    packed = packed_of({"w": Quantised(levels, 0.5), "b": Dense(floats), "c": Dense(floats[:7])})
    files = [
        dumps(packed, About(), preset, encode_weights(packed, preset, threads))
        for threads in (1, 2, 5)
    ]
    assert files[0] == files[1] == files[2]
    for threads in (1, 2, 5):
        back = loads(files[0], threads=threads)
        assert back.tensor_bytes == loads(files[0]).tensor_bytes
        assert all(same_form(form, back.packed.forms[n]) for n, form in packed.forms.items())


def test_writing_and_reading_lay_out_only_some_tensors_at_a_time():
    """Levels of eight bits are coded as int32, which all at once would take four times as much."""
    shape, count = (512, 512), 24
    levels = np.random.default_rng(0).integers(-2, 3, shape).astype(np.int8)
    packed = packed_of({f"w{i}": Quantised(levels, 1.0) for i in range(count)})
    tracemalloc.start()
    try:
        weights = encode_weights(packed, "instant", 2)
        written = tracemalloc.get_traced_memory()[1]
        data = dumps(packed, About(), "instant", weights)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        loads(data, threads=2)
        read = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert written < 4 * levels.size * count * 0.75
    assert len(data) < levels.size * count
    assert read < 4 * levels.size * count * 1.6
