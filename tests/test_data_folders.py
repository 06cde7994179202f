"""Folders as people have them: each layout is read right, or refused with the true reason."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import picture, write_tree

from reticule.data import Data
from reticule.data.classes import natural
from reticule.errors import DataError

JUNK = {
    ".DS_Store": b"x", "Thumbs.db": b"x", "desktop.ini": b"x", "cat/._a.png": b"x",
    "__MACOSX/cat/._a.png": b"x", ".ipynb_checkpoints/cat/a.png": b"x", "cat/.hidden.png": b"x",
    "cat/Thumbs.db": b"x", "cat/.ipynb_checkpoints/a.png": b"x", "cat/notes.txt": b"x",
}  # fmt: skip

# Files; then classes, the label of each image, and words that remarks have.
RIGHT = {
    "class folders": (("cat/a.png", "cat/b.png", "dog/a.png"), ("cat", "dog"), (0, 0, 1), ()),
    "one image a class": (("a/1.png", "b/1.png", "c/1.png"), ("a", "b", "c"), (0, 1, 2), ()),
    "images deeper": (
        ("cat/x/y/a.png", "cat/b.png", "dog/z/a.png"), ("cat", "dog"), (0, 0, 1), (),
    ),
    "numbers": (
        tuple(f"{i}/a.png" for i in range(12)), tuple(map(str, range(12))), tuple(range(12)),
        ("natural order",),
    ),
    "numbers in names": (("c2/a.png", "c10/a.png"), ("c2", "c10"), (0, 1), ("natural order",)),
    "capital suffixes": (("cat/a.PNG", "dog/b.JPG", "dog/c.Tif"), ("cat", "dog"), (0, 1, 1), ()),
    "no suffixes": (("cat/a", "dog/b"), ("cat", "dog"), (0, 1), ()),
    "an empty class": (
        ("a/1.png", "b/", "c/1.png"), ("a", "b", "c"), (0, 2), ("no images of 'b', 1 of 3",),
    ),
    "a single class": (("cat/a.png", "cat/b.png"), ("cat",), (0, 0), ("one class, 'cat'",)),
    "a folder around the classes": (
        ("pets/cat/a.png", "pets/dog/b.png"), ("pets",), (0, 0), ("give ", "pets"),
    ),
    "a class called like a split": (
        ("bus/a.png", "car/a.png", "train/a.png"), ("bus", "car", "train"), (0, 1, 2), (),
    ),
    "images alone": (("a.png", "b.png", "c"), (), None, ()),
    "images beside empty folders": (("a.png", "b.png", "meta/"), (), None, ()),
}  # fmt: skip


@pytest.mark.parametrize("layout", RIGHT)
@pytest.mark.parametrize("junk", [False, True])
def test_layouts_that_are_right(tmp_path: Path, layout: str, junk: bool) -> None:
    files, classes, labels, said = RIGHT[layout]
    contents = {n: c for n, c in JUNK.items() if n.split("/")[0] != "cat" or "cat" in classes}
    data = Data(write_tree(tmp_path / "root", files, contents if junk else {}))
    assert data.classes == classes
    assert data.labelled == (labels is not None)
    count = sum(not name.endswith("/") for name in files)
    assert len(data.images(np.arange(len(data)))) == len(data) == count
    if labels is not None:
        assert tuple(data.labels) == labels
    else:
        with pytest.raises(DataError, match="root: has no labels; give a folder with one sub-fol"):
            _ = data.labels
    remarks = " ".join(data.remarks)
    assert all(words in remarks for words in said) and bool(remarks) == bool(said)


# Files, other files; then what is said.
WRONG = {
    "splits": (("train/cat/a.png", "val/cat/a.png", "test/cat/a.png"), {}, "root/train or .*test"),
    "splits in capitals": (("Train/cat/a.png", "TEST/cat/a.png"), {}, "the splits TEST, Train"),
    "splits in full": (
        ("training/a.png", "validation/b.png", "testing/c.png"), {}, "root of a data set.*training",
    ),
    "splits beside others": (
        ("train/cat/a.png", "test/cat/a.png", "docs/a.png"), {}, "the splits test, train",
    ),
    "one split": (("train/cat/a.png", "train/dog/a.png"), {}, "give .*root/train$"),
    "a folder around the splits": (
        ("pets/train/cat/a.png", "pets/val/cat/a.png"), {}, "give .*pets/train or .*pets/val",
    ),
    "images beside classes": (
        ("a.png", "b.png", "cat/a.png", "dog/a.png"), {}, r"2 images \(a.png, ...\) beside.*cat",
    ),
    "empty": ((), {}, "has no images, it is empty; give a folder with one sub-folder"),
    "empty classes": (("cat/", "dog/"), {}, "no images in its sub-folders cat, dog, they"),
    "parquet files": ((), {"a.parquet": b"PAR1", "b.parquet": b"PAR1"}, "parquet; give one"),
    "other files": (("cat/",), {"cat/a.txt": b"x", "cat/b": b"y"}, "only files with no suffix"),
    "hidden files alone": ((), {".a.png": b"x", "__MACOSX/a.png": b"x"}, "no images"),
    "a kind that Pillow lacks": ((), {"cat/a.heic": b"x"}, "heic.*converted"),
}  # fmt: skip


@pytest.mark.parametrize("layout", WRONG)
def test_layouts_that_are_wrong(tmp_path: Path, layout: str) -> None:
    files, contents, message = WRONG[layout]
    (tmp_path / "root").mkdir()
    with pytest.raises(DataError, match=message) as caught:
        Data(write_tree(tmp_path / "root", files, contents))
    assert "\n" not in str(caught.value) and "root" in str(caught.value)


@pytest.mark.parametrize(
    ("role", "folder"), [("train", "Training"), ("val", "valid"), ("test", "t")]
)
def test_the_split_that_is_meant_is_named(tmp_path: Path, role: str, folder: str) -> None:
    root = write_tree(tmp_path, ("Training/cat/a.png", "valid/cat/a.png", "x/a.png"))
    with pytest.raises(DataError, match="root of a data set") as caught:
        Data(root, role=role)
    advice = str(caught.value).partition("; give ")[2]
    assert str(caught.value).startswith(f"{role}: ")
    assert (advice == str(root / folder)) == (role != "test")


def test_links_to_folders_and_images(tmp_path: Path) -> None:
    write_tree(tmp_path, ("far/cat/a.png", "far/b.png", "root/dog/a.png"))
    try:
        os.symlink(tmp_path / "far" / "cat", tmp_path / "root" / "cat")
        os.symlink(tmp_path / "far" / "b.png", tmp_path / "root" / "dog" / "b.png")
        os.symlink(tmp_path / "root", tmp_path / "root" / "dog" / "circle")
    except OSError:
        pytest.skip("links cannot be made here")
    data = Data(tmp_path / "root")
    assert data.classes == ("cat", "dog")
    assert len(data.images(np.arange(len(data)))) == len(data)
    assert (tmp_path / "far" / "cat" / "a.png").exists()
    os.symlink(tmp_path / "gone.png", tmp_path / "root" / "cat" / "c.png")
    with pytest.raises(DataError, match=r"cat.c\.png is a link to a file that is missing"):
        Data(tmp_path / "root").check()


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "root", ("cat/a.png",))
    try:
        os.symlink(root / "cat", root / "cat" / "again")
    except OSError:
        pytest.skip("links cannot be made here")
    assert len(Data(root)) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_do_not_block(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "root", ("cat/a.png",))
    os.mkfifo(root / "cat" / "b.png")
    os.mkfifo(root / "cat" / "c")
    with pytest.raises(DataError, match=r"cat.b\.png is not a file"):
        Data(root).check()
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(DataError, match="no regular file"):
        Data(tmp_path / "a.npz")


def test_the_current_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_tree(tmp_path / "pets", ("cat/a.png", "dog/a.png")))
    assert Data(".").name == "pets"


@given(st.lists(st.integers(0, 10**6), unique=True), st.sampled_from(["", "class ", "n0"]))
def test_numbers_in_names_sort_by_value(numbers: list[int], start: str) -> None:
    names = [f"{start}{number}" for number in numbers]
    assert sorted(names, key=natural) == [f"{start}{number}" for number in sorted(numbers)]


@given(st.lists(st.text(alphabet="0\u0661\u00b2aA-. ", max_size=6)))
def test_natural_order_is_one_for_all_names(names: list[str]) -> None:
    first = sorted(names, key=natural)
    assert sorted(reversed(names), key=natural) == first


def test_files_without_suffix_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    kinds = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
    for number, kind in enumerate(kinds):
        with (tmp_path / f"{number}").open("wb") as file:
            picture(number).save(file, kind)
    (tmp_path / "README").write_bytes(b"Images of noise.")
    assert len(Data(tmp_path)) == len(kinds)
