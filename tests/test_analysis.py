"""``analyze``: figures that mean what they say, and a page that opens offline."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gallery import GALLERY  # noqa: E402

import reticule  # noqa: E402
from reticule.cli import main  # noqa: E402
from reticule.codec import About, save  # noqa: E402
from reticule.data import Data, Preprocessing  # noqa: E402
from reticule.forms import Packed  # noqa: E402
from reticule.graph import Graph, Network, Node  # noqa: E402
from reticule.methods import Context, RemoveDeadUnits  # noqa: E402
from reticule.report.analysis import render_analysis  # noqa: E402
from reticule.science import network_graph  # noqa: E402
from reticule.science.analysis import MEASURES, analyze, summary  # noqa: E402
from reticule.science.measures import Whole  # noqa: E402
from reticule.science.removal import Patient, alike, information  # noqa: E402

CONTEXT = Context(Network(Graph({"x": (1,)}, ("x",), (), {}), {}))


def two_halves(seed: int = 0) -> tuple[Network, Data]:
    """Each half of the hidden units serves one half of four classes, and nothing else.

    An image is one of four spots; units 0 to 19 see the first two, 20 to 39 the others.
    """
    rng = np.random.default_rng(seed)
    first = np.zeros((40, 4), "f4")
    second = np.zeros((4, 40), "f4")
    for unit in range(40):
        own = 2 * (unit // 20) + unit % 2
        first[unit, own] = 1 + 0.1 * rng.random()
        second[own, unit] = 1 + 0.1 * rng.random()
        second[2 * (unit // 20) + 1 - unit % 2, unit] = -0.1
    nodes = (
        Node("Flatten", "f", ("x",), ("v",)),
        Node("Gemm", "a", ("v", "wa"), ("h",)),
        Node("Relu", "r", ("h",), ("g",)),
        Node("Gemm", "b", ("g", "wb"), ("y",)),
    )
    graph = Graph({"x": (1, 2, 2)}, ("y",), nodes, {"wa": first.shape, "wb": second.shape})
    labels = np.arange(80) % 4
    pixels = np.zeros((80, 4), np.uint8)
    pixels[np.arange(80), labels] = 255
    data = Data((pixels.reshape(80, 1, 2, 2), labels))
    return Network(graph, {"wa": first, "wb": second}), data


def test_communities_that_decide_are_told_from_those_that_do_not() -> None:
    network, data = two_halves()
    found = analyze(Packed.of(network), data, images=80, times=40)
    assert found.accuracy == 100
    assert len(found.removed) >= 2
    telling = 0
    for each in found.removed:
        hurt = np.array(each.by_class) > 50
        assert not hurt.all()
        if hurt.any():  # the class that is guessed where nothing is seen cannot be hurt
            telling += 1
            assert each.accuracy < each.chance
            assert each.p <= 0.05
    assert telling >= len(found.removed) - 1
    assert found.information is not None
    assert found.information.p <= 0.05
    assert found.measures["modularity"].p <= 0.05
    text = " ".join(summary(found))
    assert "more than by chance" in text
    assert "tells its favourite class" in text


def test_removal_is_what_nothing_reads() -> None:
    network, data = two_halves()
    whole = Whole.of(network_graph(network))
    patient = Patient.of(network, whole, data, 80)
    hidden = patient.hidden
    assert hidden.size == 40
    assert patient.accuracy(hidden) <= 50
    tensors = patient.without(hidden[:20])
    np.testing.assert_array_equal(tensors["wb"][:, :20], 0)
    np.testing.assert_array_equal(tensors["wb"][:, 20:], network.tensors["wb"][:, 20:])
    np.testing.assert_array_equal(
        network.tensors["wb"][:, 0] != 0, network.tensors["wb"][:, 2] != 0
    )
    assert patient.by_class(hidden[:20])[2:].tolist() == [100, 100]


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnext", "densenet", "resnet_option_a"])
def test_grouped_and_tied_units_can_be_removed(name: str) -> None:
    """Without a unit, no convolution reads its channel, whatever its groups are."""
    module, example = GALLERY[name]()
    network = reticule.from_torch(module, example)
    whole = Whole.of(network_graph(network))
    (shape,) = network.graph.inputs.values()
    data = Data((np.zeros((4, *shape), np.uint8), np.zeros(4, int)))
    patient = Patient.of(network, whole, data, 4)
    tensors = patient.without(patient.hidden)
    for node, tensor in network.graph.weights():
        wiring = patient.units.layers[node.name]
        inputs = np.isin(wiring.column_units + whole.first[wiring.columns], patient.hidden)
        if inputs.all():
            assert not tensors[tensor].any()
        elif not inputs.any():
            assert tensors[tensor] is network.tensors[tensor]


def test_others_like_them_are_of_the_same_groups_and_strengths() -> None:
    network, data = two_halves()
    whole = Whole.of(network_graph(network))
    hidden = Patient.of(network, whole, data, 8).hidden
    rng = np.random.default_rng(0)
    units = rng.permutation(hidden)[:10]
    for _ in range(10):
        other = alike(whole, units, hidden, rng)
        assert other.size == np.unique(other).size == 10
        assert np.isin(other, hidden).all()
        np.testing.assert_array_equal(
            np.bincount(whole.group[other]), np.bincount(whole.group[units])
        )


def test_information_is_none_between_strangers() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (2, 20000))
    assert information(a, b) < 0.01
    assert information(a, (a + 1) % 4) == 1
    assert information(np.zeros(5, int), np.arange(5)) == 0


def test_the_page_opens_offline() -> None:
    network, data = two_halves()
    found = analyze(Packed.of(network), data, images=40, times=5)
    page = render_analysis(found, "<b>odd & name</b>")
    head = page.partition("<script>")[0]
    assert "&lt;b&gt;odd &amp; name&lt;/b&gt;" in head
    outside = page.replace("https://plot.ly", "")
    assert not re.search(
        r"<(script|link|img|iframe)[^>]+(src|href)=", outside.partition("</main>")[0]
    )
    figures = re.search(r'id="figures">(.*?)</script>', page, re.S)
    assert figures is not None
    drawn = json.loads(figures[1])
    assert {"matrix", "parts", "curves", "strengths", "classes"} <= set(drawn)
    for name in drawn:
        assert f'<div id="{name}">' in page
    for name in MEASURES:
        assert name in page


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, _ = two_halves()
    save(tmp_path / "n.ret", Packed.of(network), About(Preprocessing(255.0), ()))
    labels = np.arange(40) % 4
    pixels = np.zeros((40, 4), np.uint8)
    pixels[np.arange(40), labels] = 255
    np.savez(tmp_path / "d.npz", images=pixels.reshape(40, 1, 2, 2), labels=labels)
    files = [str(tmp_path / "n.ret"), "--data", str(tmp_path / "d.npz"), "--times", "5"]
    with pytest.raises(SystemExit) as end:
        main(["analyze", *files, "-o", str(tmp_path / "a.html"), "--json"])
    assert end.value.code == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["units"] == 48
    assert set(plain["measures"]) == set(MEASURES)
    assert (tmp_path / "a.html").stat().st_size > 1000
    with pytest.raises(SystemExit) as end:
        main(["analyze", *files])
    assert end.value.code == 0
    assert "hidden units gone" in capsys.readouterr().out


def test_degrees_before_pruning_stand_beside_those_after_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, _ = two_halves()
    mask = np.zeros((40, 4), bool)
    mask[:10, :2] = True
    tensors = {**network.tensors, "wa": network.tensors["wa"] * mask}
    packed = RemoveDeadUnits().apply(Packed.of(Network(network.graph, tensors)), CONTEXT).packed
    found = analyze(packed, before=Packed.of(network), times=5)
    assert found.before is not None
    assert (found.before.units, found.units) == (48, 4 + 10 + 4)
    hidden = found.groups_before["a"]
    assert (hidden.units, hidden.mean_degree) == (40, 3.0)  # one edge in, two out
    page = render_analysis(found, "pruned")
    assert "40 → 10" in page
    assert "dotted: before pruning" in page
    assert "took 30 of 48 units out" in " ".join(summary(found))

    save(tmp_path / "p.ret", packed, About())
    save(tmp_path / "o.ret", Packed.of(network), About())
    with pytest.raises(SystemExit) as end:
        main(["analyze", str(tmp_path / "p.ret"), "--before", str(tmp_path / "o.ret")])
    assert end.value.code == 0
    assert "40 → 10" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main(["analyze", str(tmp_path / "p.ret"), "--before", str(tmp_path / "none.ret")])
    assert end.value.code == 2
    assert "none.ret" in capsys.readouterr().err


def test_bad_input_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ["analyze", str(tmp_path / "no.onnx")],
        ["analyze", str(tmp_path / "no.txt")],
    ):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 2
        error = capsys.readouterr().err.strip()
        assert len(error.splitlines()) == 1
        assert "no." in error
