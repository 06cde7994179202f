"""Images that cannot be used: all are listed at once, or passed over."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from image_files import picture, write_tree

from reticule.cli import main
from reticule.data import Data
from reticule.data.sources import Encoded
from reticule.data.store import Lazy
from reticule.errors import DataError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
INPUTS = {"x": (3, 6, 7)}


def encoded(kind: str = "PNG", **size: int) -> bytes:
    file = io.BytesIO()
    picture(**size).save(file, kind)
    return file.getvalue()


BAD = {
    "pointer.png": (POINTER, "is a Git LFS pointer instead of an image: run 'git lfs pull'"),
    "cut.png": (encoded()[:-60], "truncated; copy it again"),
    "cut.jpg": (encoded("JPEG")[:-40], "truncated; copy it again"),
    "head.png": (encoded()[:20], "truncated; copy it again"),
    "empty.png": (b"", "it is empty"),
    "page.jpg": (b"<html>not found</html>", "not an image"),
    "large.png": (encoded(height=9, width=9), "is 9x9, the network takes 6x7"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    good = [f"{label}/{i:02}.png" for label in ("cat", "dog") for i in range(5)]
    return write_tree(tmp_path / "pets", good)


def spoil(folder: Path, names: list[str]) -> Path:
    return write_tree(folder, (), {f"cat/{name}": BAD[name][0] for name in names})


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("role", ["", "train"])
def test_each_kind_is_named(folder: Path, name: str, role: str) -> None:
    data = Data(spoil(folder, [name]), role=role).fitted(INPUTS)
    with pytest.raises(DataError) as caught:
        data.check()
    start = f"{role}: " if role else ""
    assert str(caught.value).startswith(f"{start}cat/{name} ") and BAD[name][1] in str(caught.value)


@pytest.mark.parametrize("ask", ["check", "one batch", "one image", "digest"])
def test_all_are_listed_whatever_is_asked(folder: Path, ask: str) -> None:
    data = Data(spoil(folder, list(BAD)), role="val").fitted(INPUTS)
    if ask == "digest":  # of bytes, which need not be images
        assert data.digest()
        return
    with pytest.raises(DataError) as caught:
        if ask == "check":
            data.check()
        else:  # images are sorted, so that the first good one comes first
            data.images(np.arange(12) if ask == "one batch" else [5])
    message = str(caught.value)
    assert message.startswith("val: pets: 7 of 17 images cannot be used: ")
    assert all(f"cat/{name} " in message and BAD[name][1] in message for name in BAD)
    assert "--skip-bad" in message and "\n" not in message


def test_ten_are_listed_and_the_rest_counted(folder: Path) -> None:
    write_tree(folder, (), {f"cat/bad{i:03}.png": b"x" for i in range(150)})
    with pytest.raises(DataError, match=r"150 of 160 .*; and 140 more\. ") as caught:
        Data(folder).check()
    assert str(caught.value).count("cannot be decoded") == 10


@pytest.mark.parametrize("cache", [1 << 30, 10])
def test_passed_over_and_said(folder: Path, cache: int) -> None:
    data = Data(spoil(folder, list(BAD)), skip_bad=True)
    data._store.images._cache_bytes = cache
    data = data.fitted(INPUTS)
    assert len(data) == 10 and np.bincount(data.labels).tolist() == [5, 5]
    assert data.images(np.arange(10)).shape == (10, 3, 6, 7)
    (remark,) = data.remarks
    assert remark.startswith("pets: passed over 7 of 17 images: ")
    assert data.fitted(INPUTS).remarks == (remark,)
    rest, held = data.split(0.3)
    assert len(rest) + len(held) == 10


def test_nothing_is_left_when_all_are_bad(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "pets", (), {f"cat/{i}.png": b"x" for i in range(3)})
    with pytest.raises(DataError, match="3 of 3 images cannot be used"):
        Data(folder, skip_bad=True).fitted(INPUTS)
    with pytest.raises(DataError, match="3 of 3 images cannot be used"):
        _ = Data(folder).shape


def test_a_bad_first_image_does_not_hide_the_shape(folder: Path) -> None:
    write_tree(folder, (), {"cat/!.png": b"x"})
    data = Data(folder)
    assert data.shape == (3, 6, 7)
    with pytest.raises(DataError, match=r"cat.!\.png cannot be decoded"):
        data.fitted(INPUTS).batch([3, 0])


def test_checking_decodes_each_image_once() -> None:
    calls: list[int] = []

    class Counted(Encoded):
        def pixels(self, index, background):
            calls.append(index)
            return super().pixels(index, background)

    images = [encoded() for _ in range(200)]
    data = Data((np.zeros((200, 1, 1), "u1"), None)).fitted({"x": (1, 1, 1)})
    data._store.__dict__["images"] = Lazy(Counted("many", images))
    data = data.fitted(INPUTS).check()
    data.images(np.arange(200))
    assert sorted(set(calls)) == list(range(200)) and len(calls) <= 201  # one look at the size


def test_pointers_in_place_of_data(tmp_path: Path) -> None:
    for name in ("a.parquet", "a.npz", "train-images-idx3-ubyte"):
        (tmp_path / name).write_bytes(POINTER)
        with pytest.raises(DataError, match="Git LFS pointer instead of data"):
            Data(tmp_path / name)


def test_a_broken_tag_does_not_make_an_image_bad(folder: Path) -> None:
    with (folder / "cat" / "tag.jpg").open("wb") as file:
        picture().save(file, "JPEG", exif=b"Exif\0\0" + b"\xff" * 40)
    assert len(Data(folder).check()) == 11


def test_the_command_lists_and_passes_over(folder: Path, tmp_path: Path, capsys) -> None:
    from reticule.graph import Graph, Network, Node
    from reticule.graph.onnx_out import to_onnx

    nodes = (Node("Flatten", "f", ("x",), ("v",)), Node("Gemm", "g", ("v", "w"), ("y",)))
    weights = np.random.default_rng(0).standard_normal((2, 126)).astype("f4")
    graph = Graph(INPUTS, ("y",), nodes, {"w": weights.shape})
    to_onnx(Network(graph, {"w": weights}), tmp_path / "a.onnx")
    spoil(folder, list(BAD))
    command = ["eval", str(tmp_path / "a.onnx"), "--data", str(folder), "--json"]
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 2
    assert "pets: 7 of 17 images cannot be used" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main([*command, "--skip-bad"])
    assert not end.value.code
    out, err = capsys.readouterr()
    assert '"n": 10' in out and "passed over 7 of 17 images" in err and "pixel/255" in err


def test_what_was_checked_is_not_decoded_again(folder: Path) -> None:
    calls: list[int] = []

    class Counted(Encoded):
        def pixels(self, index, background):
            calls.append(index)
            return super().pixels(index, background)

    good = [encoded() for _ in range(5)]
    data = Data((np.zeros((6, 1, 1), "u1"), None), skip_bad=True)
    data._store.__dict__["images"] = Lazy(Counted("many", [*good, b"x"]), cache_bytes=10)
    fitted = data.fitted(INPUTS)
    seen = len(calls)
    assert len(fitted) == len(fitted.fitted(INPUTS)) == len(fitted.subset([0, 4]).check()) + 3 == 5
    assert len(calls) == seen
    fitted.with_preprocessing(fitted.preprocessing.__class__(resize=(6, 7))).check()
    assert len(calls) == seen + 5
