"""The ``.ret`` file: what goes in comes out, bytes add up, and bad files say why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
from codec_mutations import Parts, varint
from codec_samples import described, odd_shapes, packed_of, same_form, small_cnn

from reticule.codec import About, Limits, dumps, load, loads, save
from reticule.errors import Fault, FormatError, ModelError, ReticuleError
from reticule.forms import Dense, Packed
from reticule.graph import Node


def faulty(data: bytes, limits: Limits | None = None) -> Fault:
    """What is wrong with a file; the message must be one line that names it."""
    with pytest.raises(FormatError) as caught:
        loads(data, limits or Limits(), "some.ret")
    message = str(caught.value)
    assert "\n" not in message and message.startswith("some.ret")
    return caught.value.fault


# What is stored -------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [small_cnn(), odd_shapes()], ids=["cnn", "odd"])
def test_a_file_gives_back_graph_forms_and_description(packed, tmp_path):
    saved = save(tmp_path / "net.ret", packed, described())
    loaded = load(tmp_path / "net.ret")
    assert loaded.about == described()
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


def test_tensor_bytes_add_up_to_the_weight_section_and_are_what_the_tensors_take():
    loaded = loads(dumps(small_cnn(), described()))
    parts = Parts.of(dumps(small_cnn(), described()))
    records = [len(varint(len(body))) + len(body) + 4 for body in parts.bodies]
    assert list(loaded.tensor_bytes.values()) == records
    assert sum(records) == loaded.bytes_weights < loaded.bytes_file
    assert parts.weights == sum(form.size for form in loaded.packed.forms.values())


def test_the_same_network_gives_the_same_bytes_and_encoding_again_changes_nothing(tmp_path):
    data = dumps(small_cnn(), described())
    assert dumps(small_cnn(), described()) == data
    loaded = loads(data)
    assert dumps(loaded.packed, loaded.about) == data
    save(tmp_path / "net.ret", small_cnn(), described())
    assert (tmp_path / "net.ret").read_bytes() == data


def test_a_file_says_nothing_about_its_maker():
    metadata = json.loads(Parts.of(dumps(small_cnn(), About())).metadata)
    assert set(metadata) == {"inputs", "outputs", "nodes", "tensors", "about"}
    assert metadata["about"] == {}


def test_attributes_with_their_default_are_left_out():
    metadata = json.loads(Parts.of(dumps(small_cnn(), About())).metadata)
    attributes = {node[1]: (node[4] if len(node) == 5 else {}) for node in metadata["nodes"]}
    assert attributes["clip"] == {"min": 0.0}
    assert attributes["leaky"] == {"alpha": -0.0} and attributes["flat"] == {}


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 0.1, 1e-300, -0.0])
def test_any_number_may_be_an_attribute(value):
    packed = packed_of({"w": Dense(np.ones(1, "f4"))})
    nodes = (Node("Clip", "clip", ("x",), ("y",), {"min": value, "max": 6}),)
    packed = replace(packed, graph=replace(packed.graph, nodes=nodes))
    settings = loads(dumps(packed, About())).packed.graph.nodes[0].settings
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

GOOD = dumps(small_cnn(), described())
PARTS = Parts.of(GOOD)
FIRST = PARTS.bodies[0]  # conv.weight: rank 4, shape (6, 1, 3, 3), a dense form


def with_first(body: bytes, weights: int = 0) -> bytes:
    return replace(PARTS, bodies=(body, *PARTS.bodies[1:]), weights=PARTS.weights + weights).bytes()


def with_json(**changes: object) -> bytes:
    text = json.dumps({**json.loads(PARTS.metadata), **changes})
    return replace(PARTS, metadata=text.encode()).bytes()


NODE = json.loads(PARTS.metadata)["nodes"][0]
ZERO = b"\x01\x00"  # a constant stream
FAULTS = {
    "empty": (b"", Fault.NOT_RET),
    "other file": (b"\x89PNG" + GOOD[4:], Fault.NOT_RET),
    "future": (GOOD[:4] + b"\x63" + GOOD[5:], Fault.VERSION),
    "only magic": (GOOD[:4], Fault.TRUNCATED),
    "cut": (GOOD[:-1], Fault.TRUNCATED),
    "longer": (GOOD + b"\0", Fault.TRAILING),
    "metadata bit": (GOOD[:20] + bytes([GOOD[20] ^ 1]) + GOOD[21:], Fault.CHECKSUM),
    "weight bit": (GOOD[:-9] + bytes([GOOD[-9] ^ 1]) + GOOD[-8:], Fault.CHECKSUM),
    "padded integer": (GOOD[:5] + b"\x80\x00" + GOOD[6:], Fault.TOO_LARGE),
    "endless integer": (GOOD[:5] + b"\xff" * 20 + GOOD[6:], Fault.TOO_LARGE),
    "huge metadata": (replace(PARTS, forged=(("inflated", 2**40),)).bytes(), Fault.TOO_LARGE),
    "huge weights": (replace(PARTS, weights=2**40).bytes(), Fault.TOO_LARGE),
    "inflates to more": (replace(PARTS, forged=(("inflated", 9),)).bytes(), Fault.METADATA),
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
    "attribute of another length": (with_json(nodes=[[*NODE[:4], {"pads": [1]}]]), Fault.GRAPH),
    "shapes clash": (with_json(inputs={"x": [2, 6, 6]}), Fault.GRAPH),
    "no output": (with_json(outputs=["nothing"]), Fault.GRAPH),
    "cycle": (with_json(nodes=[["Relu", "r", ["y"], "y"]]), Fault.GRAPH),
    "same name twice": (with_json(tensors=["w", "w"]), Fault.GRAPH),
    "weights differ": (replace(PARTS, weights=PARTS.weights + 1).bytes(), Fault.TENSORS),
    "record lacks": (replace(PARTS, bodies=PARTS.bodies[:-1]).bytes(), Fault.TRUNCATED),
    "record too many": (replace(PARTS, bodies=(*PARTS.bodies, FIRST)).bytes(), Fault.TRAILING),
    "bodies swapped": (replace(PARTS, bodies=PARTS.bodies[::-1]).bytes(), Fault.GRAPH),
    "body too long": (with_first(FIRST + b"\0"), Fault.TRAILING),
    "body too short": (with_first(FIRST[:-1]), Fault.TRUNCATED),
    "rank": (with_first(b"\x0f" + b"\1" * 15 + FIRST[5:]), Fault.TOO_LARGE),
    "hidden axis": (
        with_first(b"\x04\x00" + varint(2**31) * 2 + b"\1" + FIRST[5:], -54),
        Fault.TOO_LARGE,
    ),
    "unknown form": (with_first(FIRST[:5] + b"\x4d" + FIRST[6:]), Fault.UNKNOWN_FORM),
    "unknown coder": (with_first(FIRST[:6] + b"\x4d" + FIRST[7:]), Fault.UNKNOWN_CODER),
    "no inner form": (with_first(FIRST[:5] + b"\x03\x00\x00"), Fault.TENSORS),
    "form left over": (
        with_first(b"\x14" + FIRST[1:5] + b"\x01\x01" + ZERO * 4 + b"\x00" + ZERO * 4),
        Fault.TENSORS,
    ),
    "too many parts": (with_first(b"\x84\x01" + FIRST[1:]), Fault.TOO_LARGE),
    "codebook's index": (
        with_first(b"\x14" + FIRST[1:5] + b"\x01\x03" + ZERO * 4 + b"\x02\x01\x03"),
        Fault.BAD_INDEX,
    ),
    "infinite": (
        with_first(FIRST[:5] + b"\x00" + ZERO * 2 + b"\x01\x80\x01\x01\x7f"),
        Fault.BAD_VALUE,
    ),
    "stored outside": (
        with_first(b"\x14" + FIRST[1:5] + b"\x01\x01" + ZERO * 4 + b"\x03\x00\x36\x01\x00"),
        Fault.BAD_INDEX,
    ),
    "endless zeros": (
        replace(
            packed_parts := Parts.of(dumps(packed_of({"w": Dense(np.zeros(9, "f4"))}), About())),
            bodies=(b"\x01" + varint(2**25) + b"\x00" + ZERO * 4,),
            weights=2**25,
        ).bytes(),
        Fault.TOO_LARGE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_every_way_to_be_bad_has_its_fault(name):
    data, fault = FAULTS[name]
    assert faulty(data) is fault


def test_every_fault_is_covered():
    elsewhere = {Fault.BAD_TABLE, Fault.BAD_STREAM}  # in test_codec_streams.py
    assert {fault for _, fault in FAULTS.values()} | elsewhere == set(Fault)


def test_taking_a_file_apart_and_together_changes_nothing():
    assert loads(PARTS.bytes()).tensor_bytes == loads(GOOD).tensor_bytes
    assert faulty(GOOD, Limits(elements=100)) is Fault.TOO_LARGE
    assert faulty(GOOD, Limits(nodes=3)) is Fault.TOO_LARGE
    assert faulty(GOOD, Limits(tensors=3)) is Fault.TOO_LARGE


def test_a_bomb_of_metadata_is_not_inflated():
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(2**26)) + packer.flush()
    for inflated in (2**22, 2**26):
        data = replace(PARTS, deflated=bomb, forged=(("inflated", inflated),)).bytes()
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
