"""A network as graphs: every edge is where the network's weights say it is."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from reticule.errors import MissingExtra, ReticuleError
from reticule.forms import Packed, Sparse
from reticule.graph import Graph, Network, Node
from reticule.science import (
    NetworkGraph,
    load_npz,
    network_graph,
    save_npz,
    to_networkx,
    write_graphml,
)
from reticule.science.optional import need


def network(groups: int = 1, seed: int = 0) -> Network:
    """Two convolutions with a residual addition, a flatten, and a linear layer."""
    nodes = (
        Node("Conv", "a", ("x", "wa"), ("h",), {"pads": (1, 1, 1, 1)}),
        Node("Conv", "b", ("h", "wb"), ("g",), {"pads": (1, 1, 1, 1), "group": groups}),
        Node("Add", "sum", ("h", "g"), ("s",)),
        Node("Flatten", "f", ("s",), ("v",)),
        Node("Gemm", "c", ("v", "wc"), ("y",)),
    )
    shapes = {"wa": (6, 2, 3, 3), "wb": (6, 6 // groups, 3, 3), "wc": (5, 6 * 4)}
    rng = np.random.default_rng(seed)
    tensors = {
        name: (rng.normal(size=shape) * (rng.random(shape) < 0.3)).astype("f4")
        for name, shape in shapes.items()
    }
    return Network(Graph({"x": (2, 2, 2)}, ("y",), nodes, shapes), tensors).check()


@given(seed=st.integers(0, 1000), groups=st.sampled_from([1, 2, 3, 6]), join=st.booleans())
@settings(max_examples=40, deadline=None)
def test_edges_are_norms_sums_and_counts_of_weights(seed: int, groups: int, join: bool) -> None:
    net = network(groups, seed)
    made = {kind: network_graph(net, kind, join) for kind in ("norm", "sum", "count")}
    for node, name in net.graph.weights():
        weights = net.tensors[name].astype(np.float64)
        per_row = weights.reshape(len(weights), weights.shape[1], -1)
        if node.name == "b":  # a group's columns are some of all inputs
            full = np.zeros((6, 6, 9))
            for row in range(6):
                first = row // (6 // groups) * (6 // groups)
                full[row, first : first + 6 // groups] = per_row[row]
            per_row = full
        elif node.name == "c" and join:
            per_row = per_row.reshape(5, 6, 4)
        expected = {
            "norm": np.sqrt((per_row**2).sum(2)),
            "sum": per_row.sum(2),
            "count": (per_row != 0).sum(2),
        }
        for kind, graph in made.items():
            got = graph[node.name].matrix.toarray()
            np.testing.assert_allclose(got, expected[kind], rtol=1e-5, atol=1e-6)
            assert graph[node.name].matrix.nnz == np.count_nonzero(expected["count"])


def test_layers_share_units() -> None:
    """What an addition joins is one group; a flatten's columns belong to their channels."""
    graph = network_graph(network())
    assert dict(graph.groups) == {"x": 2, "a": 6, "c": 5}
    assert (graph["a"].rows, graph["b"].rows, graph["b"].columns) == ("a", "a", "a")
    _, columns, _ = graph["c"].edges()
    assert set(columns.tolist()) <= set(range(6))
    assert graph["c"].column_units is not None
    assert graph["c"].column_units.tolist() == np.repeat(range(6), 4).tolist()
    with pytest.raises(ReticuleError, match="no weighted layer 'z'"):
        graph["z"]


def test_pixels_of_a_flattened_input_are_units() -> None:
    nodes = (Node("Flatten", "f", ("x",), ("v",)), Node("Gemm", "c", ("v", "w"), ("y",)))
    weights = np.random.default_rng(0).normal(size=(5, 18)).astype("f4")
    graph = Graph({"x": (2, 3, 3)}, ("y",), nodes, {"w": weights.shape})
    made = network_graph(Network(graph, {"w": weights}), join_columns=True)
    assert dict(made.groups) == {"x": 18, "c": 5}
    np.testing.assert_allclose(made["c"].matrix.toarray(), np.abs(weights), rtol=1e-6)


def test_a_zero_that_is_stored_is_an_edge() -> None:
    net = network()
    packed = Packed.of(net)
    mask = np.zeros((5, 24), bool)
    mask[2, 3] = True
    packed = packed.with_forms({"wc": Sparse.keep(np.zeros((5, 24), "f4"), mask)})
    edges = network_graph(packed, "count")["c"].edges()
    assert [each.tolist() for each in edges] == [[2], [0], [1.0]]


def test_activations_weigh_edges() -> None:
    net = network()
    plain = network_graph(net)["a"].matrix.toarray()
    samples = np.array([[3.0, 0.0], [-3.0, 1.0]])[:, :, None, None]
    strength = np.array([3.0, np.sqrt(0.5)])
    got = network_graph(net, activations={"a": samples})["a"].matrix.toarray()
    np.testing.assert_allclose(got, plain * strength, rtol=1e-5)
    with pytest.raises(ReticuleError, match="give \\(samples, 2"):
        network_graph(net, activations={"a": np.zeros((4, 3))})
    with pytest.raises(ReticuleError, match="no weighted layer 'q'"):
        network_graph(net, activations={"q": samples})
    with pytest.raises(ReticuleError, match="take one of norm, sum, count"):
        network_graph(net, "mean")


def same(one: NetworkGraph, other: NetworkGraph) -> bool:
    def parts(graph: NetworkGraph) -> list:
        return [dict(graph.groups)] + [
            (layer.name, layer.rows, layer.columns, [each.tolist() for each in layer.edges()])
            for layer in graph.layers
        ]

    return parts(one) == parts(other)


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    graph = network_graph(network(groups=2))
    save_npz(graph, tmp_path / "g.npz")
    assert same(graph, load_npz(tmp_path / "g.npz"))


@pytest.mark.parametrize("damage", ["missing", "text", "shape", "pickle"])
def test_a_bad_file_is_one_clear_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "g.npz"
    if damage == "text":
        path.write_text("no graph")
    elif damage != "missing":
        save_npz(network_graph(network()), path)
        arrays = dict(np.load(path))
        if damage == "shape":
            arrays["0.indices"] = arrays["0.indices"] + 100
        else:
            arrays["groups"] = np.array([{"a": 1}], object)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        path.write_bytes(buffer.getvalue())
    with pytest.raises(ReticuleError, match=r"g\.npz: ") as caught:
        load_npz(path)
    assert "\n" not in str(caught.value)


def test_other_programs_get_every_edge(tmp_path: Path) -> None:
    networkx = pytest.importorskip("networkx")
    graph = network_graph(network())
    made = to_networkx(graph)
    assert made.number_of_nodes() == 13
    assert made.number_of_edges() == sum(layer.matrix.nnz for layer in graph.layers)
    weight = sum(w for _, _, w in made.edges(data="weight"))
    assert weight == pytest.approx(sum(float(layer.matrix.sum()) for layer in graph.layers))
    write_graphml(graph, tmp_path / "g.graphml")
    again = networkx.read_graphml(tmp_path / "g.graphml")
    assert again.number_of_edges() == made.number_of_edges()
    assert again.nodes["x/0"]["group"] == "x"


def test_too_many_edges_for_python_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reticule.science.exports.MOST_EDGES", 3)
    with pytest.raises(ReticuleError, match="npz file"):
        to_networkx(network_graph(network()))


def test_a_missing_library_is_named() -> None:
    with pytest.raises(MissingExtra, match=r"'nolib': pip install 'reticule\[graph\]'"):
        need("nolib.part", "dreams")


def test_a_large_layer_needs_little_memory() -> None:
    """The graph of a dense layer is made in pieces; the sparse result is what stays."""
    weights = np.zeros((500, 9216), "f4")
    weights[::7, ::11] = 1
    graph = Graph(
        {"x": (9216,)}, ("y",), (Node("Gemm", "fc", ("x", "w"), ("y",)),), {"w": weights.shape}
    )
    made = network_graph(Network(graph, {"w": weights}))["fc"].matrix
    assert isinstance(made, scipy.sparse.csr_matrix)
    assert made.nnz == np.count_nonzero(weights)
