"""Names of classes decide the numbers: those of the file, then those of the training data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import write_tree

import reticule
from reticule.cli import main
from reticule.codec import About, save
from reticule.data import Data, Preprocessing
from reticule.engine import Model
from reticule.errors import DataError
from reticule.evaluation import evaluate
from reticule.forms import Packed
from reticule.graph import Graph, Network, Node

NAMES = ("ape", "bee", "cat", "dog", "eel")
INPUTS = {"x": (1, 5, 5)}


def network() -> Network:
    """Says which row is bright."""
    nodes = (Node("Flatten", "f", ("x",), ("v",)), Node("Gemm", "g", ("v", "w"), ("y",)))
    weights = np.repeat(np.eye(5), 5, axis=1).astype("f4")
    return Network(Graph(INPUTS, ("y",), nodes, {"w": weights.shape}), {"w": weights}).check()


def bright(labels: np.ndarray) -> np.ndarray:
    images = np.zeros((len(labels), 1, 5, 5), np.uint8)
    images[np.arange(len(labels)), 0, labels] = 200
    return images


def write_classes(folder: Path, names: tuple[str, ...], each: int = 4) -> Path:
    from PIL import Image

    for name in names:
        (folder / name).mkdir(parents=True)
        for i in range(each):
            row = NAMES.index(name)
            Image.fromarray(bright(np.array([row]))[0, 0]).save(folder / name / f"{i}.png")
    return folder


@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True), st.permutations(NAMES)
)
@settings(deadline=None, max_examples=50)
def test_labels_are_numbered_by_name(own: list[str], names: list[str]) -> None:
    numbers = np.arange(3 * len(own)) % len(own)
    rows = np.array([NAMES.index(own[number]) for number in numbers])
    source = {"images": bright(rows), "labels": numbers, "classes": np.array(own)}
    data = Data(source).fitted(INPUTS, 5, names)
    assert data.classes == tuple(names)
    assert [names[label] for label in data.labels] == [own[number] for number in numbers]
    again = data.fitted(INPUTS, 5, names)
    assert (again.labels == data.labels).all() and again.remarks == data.remarks
    absent = [name for name in names if name not in own]
    assert bool(data.remarks) == bool(absent)
    assert all(f"'{name}'" in data.remarks[0] for name in absent)
    part = data.subset([0]).fitted(INPUTS, 5, names)
    assert names[part.labels[0]] == own[0]


@pytest.mark.parametrize("present", [("bee", "dog"), ("eel",), NAMES])
def test_a_folder_that_lacks_classes_is_measured_right(
    tmp_path: Path, capsys, present: tuple[str, ...]
) -> None:
    folder = write_classes(tmp_path / "test", present)
    save(tmp_path / "a.ret", Packed.of(network()), About(Preprocessing(), NAMES))
    with pytest.raises(SystemExit) as end:
        main(["eval", str(tmp_path / "a.ret"), "--data", str(folder), "--json"])
    out, err = capsys.readouterr()
    assert not end.value.code and json.loads(out)["accuracy"] == 100.0
    missing = [name for name in NAMES if name not in present]
    assert ("no images of" in err) == bool(missing) and all(name in err for name in missing)
    model = Model.load(tmp_path / "a.ret")
    assert evaluate(model, Data(folder)).accuracy == 100.0


def test_the_training_folder_decides_for_the_others(tmp_path: Path) -> None:
    train = Data(write_classes(tmp_path / "train", NAMES))
    test = Data(write_classes(tmp_path / "test", ("dog", "eel")))
    result = reticule.compress(network(), train=train, test=test, recipe="lossless")
    assert result.accuracy_before == result.accuracy_after == 100.0
    assert result.about.labels == NAMES


def test_classes_that_the_network_does_not_know() -> None:
    def data(*names: str) -> Data:
        numbers = np.arange(2 * len(names)) % len(names)
        return Data({"images": bright(numbers), "labels": numbers, "classes": np.array(names)})

    for names, message in (
        (("ape", "Cat"), "no class 'Cat', only 'ape', .*is 'cat' meant"),
        (("ape", "dgo"), "is 'dog' meant"),
        (("ape", "zebra"), "rename or take out 'zebra'"),
        (("0", "1"), "give the data that it was trained for"),
        (("ape", "bee", "bee"), "two classes are called 'bee'"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            data(*names).fitted(INPUTS, 5, NAMES)
        assert str(caught.value).startswith("arrays: ")
    twice = ("a", "a", "b")
    assert data(*twice).fitted(INPUTS, 5, twice).classes == twice


def test_an_unknown_class_without_images_does_no_harm(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "pets", ("ape/a.png", "notes/", "dog/b.png"))
    data = Data(folder)
    assert data.remarks == ("pets: no images of 'notes', 1 of 3 classes",)
    fitted = data.fitted({"x": (3, 6, 7)}, 5, NAMES)
    assert fitted.labels.tolist() == [0, 3]
    assert fitted.remarks == ("pets: no images of 'bee', 'cat', 'eel', 3 of 5 classes",)


def test_data_without_names_keeps_its_numbers() -> None:
    data = Data((bright(np.array([3, 1])), [3, 1])).fitted(INPUTS, 5, NAMES)
    assert data.labels.tolist() == [3, 1] and data.remarks == ()
    named = Data({"images": bright(np.array([1])), "labels": [1], "classes": np.array(["a", "b"])})
    assert named.fitted(INPUTS, 5).classes == ("a", "b")


def test_the_order_is_said_only_where_it_decides(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "pets", ("2/a.png", "10/a.png"))
    data, inputs = Data(folder), {"x": (3, 6, 7)}
    assert "natural order (2, 10)" in data.remarks[0]
    assert data.fitted(inputs, 2, ("2", "10")).remarks == data.remarks
    assert data.fitted(inputs, 2, ("10", "2")).remarks == ()
    assert data.fitted(inputs, 2, ("10", "2")).labels.tolist() == [1, 0]


def test_names_that_do_not_cover_the_labels_are_said(tmp_path: Path) -> None:
    source = {"images": bright(np.array([3])), "labels": [3], "classes": np.array(["a", "b"])}
    data = Data(source)
    assert data.classes == ()
    assert data.remarks == ("arrays: its 2 names of classes are not used, as there is a label 3",)
