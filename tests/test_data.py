"""Data: every kind of source gives the same images, and every bad one a DataError."""

from __future__ import annotations

import builtins
import gzip
import io
import json
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reticule.data import Data, Preprocessing
from reticule.data.geometry import Geometry
from reticule.data.readers import _read_path
from reticule.data.sources import Pictures
from reticule.data.store import Lazy, View
from reticule.errors import DataError, MissingExtra

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
NAMES = ("cat", "dog", "eel")


def pixels(channels: int = 3, count: int = 12) -> np.ndarray:
    generator = np.random.default_rng(5)
    return generator.integers(0, 256, (count, channels, 6, 7), dtype=np.uint8)


def labels(count: int = 12) -> np.ndarray:
    return np.arange(count) * 3 // count


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    array = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def write_parquet(path, items, numbers, column="image", label="label", names=NAMES) -> Path:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({
        column: pa.array([{"bytes": b, "path": None} for b in items],
                         pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        label: pa.array(numbers),
    })  # fmt: skip
    features = {"info": {"features": {"label": {"names": list(names), "_type": "ClassLabel"}}}}
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), path)
    return path


def write_folder(path: Path, images: np.ndarray, numbers: np.ndarray) -> Path:
    for index, (image, label) in enumerate(zip(images, numbers, strict=True)):
        folder = path / NAMES[label] / ("deeper" if index % 2 else ".")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index:03}.png").write_bytes(encoded(image))
    return path


def write_idx(path: Path, array: np.ndarray, packed: bool = False) -> Path:
    raw = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if packed else raw)
    return path


class Pairs:
    """The smallest thing that looks like a torch Dataset."""

    def __init__(self, pairs: list) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int):
        return self.pairs[index]


def test_every_kind_of_source_gives_the_same_data(tmp_path):
    images, numbers = pixels(1), labels()
    items = [encoded(image) for image in images]
    np.savez(tmp_path / "a.npz", images=images, labels=numbers)
    np.savez_compressed(tmp_path / "b.npz", x=images[:, 0].astype("f4"), y=numbers[:, None])
    write_idx(tmp_path / "t10k-images-idx3-ubyte", images[:, 0])
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", numbers.astype("u1"))
    write_idx(tmp_path / "train-images.idx3-ubyte.gz", images[:, 0], packed=True)
    write_idx(tmp_path / "train-labels.idx1-ubyte", numbers.astype("u1"))
    sources = [
        write_parquet(tmp_path / "a.parquet", items, numbers),
        write_parquet(tmp_path / "b.parquet", items, numbers, column="img"),
        tmp_path / "a.npz",
        str(tmp_path / "b.npz"),
        tmp_path / "t10k-images-idx3-ubyte",
        tmp_path / "t10k-labels-idx1-ubyte",
        tmp_path / "train-images.idx3-ubyte.gz",
        tmp_path / "train-labels.idx1-ubyte",
        (images, numbers),
        Pairs([(Image.fromarray(i[0]), int(n)) for i, n in zip(images, numbers, strict=True)]),
        Pairs([(i.astype("f4") / 255, n) for i, n in zip(images, numbers, strict=True)]),
    ]
    for source in sources:
        data = Data(source)
        assert len(data) == 12 and data.shape == (1, 6, 7)
        assert data.labels.dtype == np.int64 and (data.labels == numbers).all()
        got = data.images(np.arange(12))
        assert got.dtype == np.uint8 and (got == images).all(), source


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_parquet_in_colour(tmp_path, kind):
    images = pixels()
    items = [encoded(image, kind) for image in images]
    data = Data(write_parquet(tmp_path / "train.parquet", items, labels()))
    assert data.classes == NAMES and data.name == "train.parquet"
    order = np.array([7, 3, 3, 11, 0])
    assert (data.images(order) == images[order]).all()
    assert (data.subset([4, 5]).images([1]) == images[5]).all()


def test_class_names_that_do_not_cover_the_labels_are_not_used(tmp_path):
    items = [encoded(image) for image in pixels()]
    path = write_parquet(tmp_path / "a.parquet", items, labels(), names=("one", "two"))
    assert Data(path).classes == ()


def test_folder_classes_are_sorted_and_nested_files_are_found(tmp_path):
    images = pixels()
    data = Data(write_folder(tmp_path / "pets", images, labels()))
    (tmp_path / "pets" / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "pets" / ".hidden").mkdir()
    assert data.classes == NAMES and data.name == "pets"
    assert (np.bincount(data.labels) == 4).all()
    seen = {image.tobytes() for image in data.images(np.arange(12))}
    assert seen == {image.tobytes() for image in images}


@pytest.mark.parametrize("layout", [(0, 1, 2, 3), (0, 2, 3, 1)])
@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "f8"])
def test_layouts_and_types_of_arrays(layout, dtype):
    images = pixels()
    data = Data((images.transpose(layout).astype(dtype), labels()))
    assert (data.images(np.arange(12)) == images).all()


def test_torch_data_set():
    torch = pytest.importorskip("torch")
    images = pixels()
    tensors = torch.utils.data.TensorDataset(torch.tensor(images) / 255, torch.tensor(labels()))
    data = Data(tensors)
    assert data.name == "TensorDataset" and (data.labels == labels()).all()
    assert (data.images(np.arange(12)) == images).all()


MODES = {
    "1": 1, "L": 1, "LA": 1, "I;16": 1, "P": 3, "RGB": 3, "RGBA": 3, "CMYK": 3, "YCbCr": 3,
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_image_modes(tmp_path, mode):
    grey = np.arange(42, dtype="u1").reshape(6, 7) * 6
    grey = np.where(grey > 100, 255, 0).astype("u1") if mode == "1" else grey
    image = Image.fromarray(grey)
    if mode == "I;16":
        image = Image.fromarray(grey.astype("u2") * 257)
    elif mode != "L":
        image = (image if mode == "P" else image.convert("RGB")).convert(mode)
    got = Data(Pairs([(image, 0)])).images([0])
    assert got.shape == (1, MODES[mode], 6, 7)
    assert np.abs(got[0].astype(int) - grey).max() <= (6 if mode == "YCbCr" else 0)
    file = tmp_path / "a" / "a.tif"
    file.parent.mkdir()
    image.save(file)
    assert (Data(tmp_path).images([0]) == got).all()


def test_palette_with_transparency(tmp_path):
    (tmp_path / "a").mkdir()
    image = Image.fromarray(np.arange(16, dtype="u1").reshape(4, 4)).convert("P")
    image.save(tmp_path / "a" / "a.png", transparency=bytes(range(16)))
    assert Data(tmp_path).shape == (3, 4, 4)


class Counted(Pictures):
    """Arrays that count how often each is asked for."""

    calls: ClassVar[list[int]] = []

    def pixels(self, index, background):
        self.calls.append(index)
        return super().pixels(index, background)


def view(*shape: int) -> View:
    return View(shape[0], shape[1:], Geometry(), (255, 255, 255))


def test_large_sets_decode_again_each_time():
    images = pixels()
    source = Counted("counted", images)
    source.calls.clear()
    small = Lazy(source)
    for _ in range(2):
        assert (small.take(np.array([3, 4, 3]), view(3, 6, 7)) == images[[3, 4, 3]]).all()
    assert sorted(source.calls) == [3, 4]
    large = Lazy(source, cache_bytes=100)
    assert (large.take(np.array([3, 4, 3]), view(3, 6, 7)) == images[[3, 4, 3]]).all()
    assert len(source.calls) == 5


def test_many_images_are_decoded_by_threads_in_order():
    images = np.broadcast_to(np.arange(1000)[:, None, None, None] % 251, (1000, 1, 2, 2))
    lazy = Lazy(Pictures("many", images.astype("u1")))
    order = np.random.default_rng(0).permutation(1000)
    assert (lazy.take(order, view(1, 2, 2))[:, 0, 0, 0] == order % 251).all()


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=60),
    st.floats(0.01, 0.99),
    st.integers(0, 2**32),
)
def test_split_is_stratified_and_deterministic(numbers, fraction, seed):
    data = Data((np.arange(len(numbers), dtype="u1").reshape(-1, 1, 1), np.array(numbers)))
    counts = np.bincount(numbers)
    rest, held = data.split(fraction, seed)
    parts = [part.images(np.arange(len(part))).ravel() for part in (rest, held)]
    assert all((np.diff(part.astype(int)) > 0).all() for part in parts)
    assert sorted(np.concatenate(parts)) == list(range(len(numbers)))
    if counts.max() < 2:  # one image a class: any may be held out
        assert len(held) == min(max(round(fraction * len(data)), 1), len(data) - 1)
        return
    for label, count in enumerate(counts):
        out = int((held.labels == label).sum())
        assert abs(out - fraction * count) <= 1
        assert count < 2 or 1 <= out < count
    again = data.split(fraction, seed)[1]
    assert (again.images(np.arange(len(again))).ravel() == parts[1]).all()


def test_split_depends_on_the_seed():
    data = Data((np.arange(200, dtype="u1").reshape(-1, 1, 1), np.arange(200) % 2))
    first, second = (data.split(0.3, seed)[1].images(np.arange(60)) for seed in (0, 1))
    assert (first != second).any()


def test_batches_are_preprocessed_in_order():
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    data = Data((pixels(), labels()), scale=256, mean=mean, std=std)
    batches = list(data.batches(5))
    assert [len(numbers) for _, numbers in batches] == [5, 5, 2]
    got = np.concatenate([images for images, _ in batches])
    shape = (1, 3, 1, 1)
    expected = (pixels() / 256 - np.reshape(mean, shape)) / np.reshape(std, shape)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    plain = data.with_preprocessing(Preprocessing())
    np.testing.assert_allclose(plain.batch([0]), pixels()[:1] / 255, rtol=1e-6)


@given(
    st.floats(0.5, 1e6),
    st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3),
    st.lists(st.floats(0.01, 100), min_size=1, max_size=1),
)
def test_preprocessing_survives_json(scale, mean, std):
    value = Preprocessing(scale, tuple(mean), tuple(std))
    assert Preprocessing.from_json(json.loads(json.dumps(value.to_json()))) == value


@pytest.mark.parametrize("plain", [
    {}, None, [], {"scale": 0, "mean": [0], "std": [1]}, {"scale": 1, "mean": [0], "std": [0]},
    {"scale": "1", "mean": [0], "std": [1]}, {"scale": 1, "mean": [], "std": [1]},
    {"scale": 1, "mean": [0, 0], "std": [1, 1, 1]}, {"scale": 1, "mean": [[0]], "std": [1]},
    {"scale": float("nan"), "mean": [0], "std": [1]}, {"scale": 1, "mean": [10**400], "std": [1]},
    {"scale": 1, "mean": [True], "std": [1]}, {"scale": 1, "mean": [0], "std": [1], "more": 1},
])  # fmt: skip
def test_bad_preprocessing(plain):
    with pytest.raises(DataError, match="preprocessing"):
        Preprocessing.from_json(plain)


def test_preprocessing_must_fit_the_channels():
    data = Data((pixels(1), labels()), mean=(0.1, 0.2, 0.3))
    with pytest.raises(DataError, match="3 channels"):
        data.batch([0])
    with pytest.raises(DataError, match="3 channels"):
        data.fitted({"x": (1, 6, 7)})
    assert data.fitted({"x": (3, 6, 7)}).batch([0]).shape == (1, 3, 6, 7)


def test_fitted_converts_channels():
    grey = pixels(1)
    colour = Data((grey, labels())).fitted({"x": (3, 6, 7)})
    assert (colour.images([2]) == grey[2]).all() and colour.shape == (3, 6, 7)
    back = Data((np.repeat(grey, 3, axis=1), labels())).fitted({"x": (1, 6, 7)})
    assert (back.images(np.arange(12)) == grey).all()
    colour = Data((pixels(3), labels())).fitted({"x": (1, 6, 7)})
    expected = [np.asarray(Image.fromarray(i.transpose(1, 2, 0)).convert("L")) for i in pixels(3)]
    assert (colour.images(np.arange(12))[:, 0] == expected).all()
    with pytest.raises(DataError, match="4 channels"):
        Data((pixels(4), labels())).fitted({"x": (3, 6, 7)})


def test_a_folder_of_grey_and_colour_images(tmp_path):
    path = write_folder(tmp_path / "mixed", pixels(3, 6), labels(6))
    write_folder(path, pixels(1, 3), labels(3))
    data = Data(path)
    assert data.images(np.arange(len(data))).shape == (len(data), 3, 6, 7)
    assert data.fitted({"x": (3, 6, 7)}).images(np.arange(len(data))).shape == (len(data), 3, 6, 7)


def test_fitted_errors():
    data = Data((pixels(), labels()))
    assert data.fitted({"x": (3, 6, 7)}, 3).shape == (3, 6, 7)
    with pytest.raises(DataError, match=r"arrays: image 0 is 6x7, the network takes 32x32"):
        data.fitted({"x": (3, 32, 32)})
    with pytest.raises(DataError, match="image 8 has label 2, but the network has 2 classes"):
        data.fitted({"x": (3, 6, 7)}, 2)
    with pytest.raises(DataError, match="Flatten"):
        data.fitted({"x": (126,)})


def test_save_npz_round_trip(tmp_path):
    data = Data(write_folder(tmp_path / "pets", pixels(), labels())).subset([5, 1, 9])
    data.save_npz(tmp_path / "small.npz")
    again = Data(tmp_path / "small.npz")
    assert again.classes == data.classes and (again.labels == data.labels).all()
    assert (again.images([0, 1, 2]) == data.images([0, 1, 2])).all()
    with pytest.raises(DataError, match="cannot be written"):
        data.save_npz(tmp_path / "absent" / "small.npz")


def test_images_of_different_sizes(tmp_path):
    path = write_folder(tmp_path / "pets", pixels(), labels())
    (path / "eel" / "zz.png").write_bytes(encoded(np.zeros((3, 9, 9), np.uint8)))
    data = Data(path).fitted({"x": (3, 6, 7)})
    assert len(data.batch(np.arange(12))) == 12
    with pytest.raises(DataError, match=r"eel.zz\.png is 9x9, the network takes 6x7 .*--resize"):
        data.batch([12])


def test_a_damaged_image_is_named(tmp_path):
    items = [encoded(image) for image in pixels()]
    items[7] = items[7][:-30]
    data = Data(write_parquet(tmp_path / "a.parquet", items, labels()))
    assert len(data.images(np.arange(7))) == 7
    with pytest.raises(DataError, match=r"a\.parquet: image 7 cannot be decoded"):
        data.images(np.arange(12))


def test_no_pyarrow(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "a.parquet", [encoded(pixels()[0])], [0])
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"reticule\[data\]"):
        Data(path)


IMAGES, LABELS = pixels(1), labels()
BAD_ARRAYS = {
    "no images": (IMAGES[:0], LABELS[:0]),
    "12 images, but 11 labels": (IMAGES, LABELS[:11]),
    "negative": (IMAGES, LABELS - 1),
    "expected integers": (IMAGES, LABELS.astype("f4")),
    "labels are <U": (IMAGES, np.array(["a"] * 12)),
    "one for each image": (IMAGES, np.eye(12, dtype=int)),
    "expected .N, H, W.": (IMAGES.reshape(12, -1), LABELS),
    "no pixels": (IMAGES[:, :, :0], LABELS),
    "NaN": (np.where(IMAGES > 200, np.nan, IMAGES), LABELS),
    "normalised": (IMAGES - 128.0, LABELS),
    "expected 0..255:": (IMAGES.astype("u2") * 257, LABELS),
    "multiply them by 255": (IMAGES / 255, LABELS),
    "must be numbers": (IMAGES.astype(str), LABELS),
    "do not form an array": ([[1, 2], [3]], LABELS),
}


@pytest.mark.parametrize("message", BAD_ARRAYS)
def test_bad_arrays(message, tmp_path):
    with pytest.raises(DataError, match=message):
        Data(BAD_ARRAYS[message])


def test_bad_data_sets():
    for item in (IMAGES[0], None, (IMAGES[0],), 5):
        with pytest.raises(DataError, match="Pairs: sample 1"):
            Data(Pairs([(IMAGES[0], 0), item]))
    with pytest.raises(DataError, match=r"expected 0\.\.1"):
        Data(Pairs([(IMAGES[0] / 255 - 0.5, 0)]))
    with pytest.raises(DataError, match="no images"):
        Data(Pairs([]))
    with pytest.raises(DataError, match="cannot read a int"):
        Data(3)


def test_bad_folders_and_paths(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        Data(tmp_path / "absent.parquet")
    with pytest.raises(DataError, match="one sub-folder for each class"):
        Data(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="no images"):
        Data(tmp_path)
    (tmp_path / "cat" / "a.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"cat.a\.png cannot be decoded: not an image"):
        Data(tmp_path).images([0])
    (tmp_path / "b.bin").write_bytes(b"something")
    with pytest.raises(DataError, match="not a kind of data"):
        Data(tmp_path / "b.bin")


def test_bad_parquet(tmp_path):
    items = [encoded(image) for image in pixels()]
    for column, label, message in (("pic", "label", "'image' or 'img'"), ("img", "y", "'label'")):
        path = write_parquet(tmp_path / "a.parquet", items, LABELS, column, label)
        with pytest.raises(DataError, match=message):
            Data(path)
    for numbers in (["a"] * 12, [0.5] * 12, [None, *range(11)], [-1] * 12):
        with pytest.raises(DataError, match=r"a\.parquet"):
            Data(write_parquet(tmp_path / "a.parquet", items, numbers))
    with pytest.raises(DataError, match="no bytes"):
        Data(write_parquet(tmp_path / "a.parquet", [None] * 12, LABELS))
    with pytest.raises(DataError, match="no images"):
        Data(write_parquet(tmp_path / "a.parquet", [], LABELS[:0]))


@pytest.mark.parametrize("chosen", [[12], [-1], [0.5], [[0]], [True] * 12])
def test_bad_indices(chosen):
    with pytest.raises(DataError, match="arrays"):
        Data((IMAGES, LABELS)).images(chosen)


def test_bad_arguments():
    data = Data((IMAGES, LABELS))
    for fraction in (0, 1, -0.5, float("nan")):
        with pytest.raises(DataError, match="fraction"):
            data.split(fraction)
    with pytest.raises(DataError, match="negative"):
        data.split(seed=-1)
    with pytest.raises(DataError, match="batch of 0"):
        next(data.batches(0))
    with pytest.raises(DataError, match="at least one"):
        data.subset([])


def test_idx_without_partner(tmp_path):
    path = write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES[:, 0])
    with pytest.raises(DataError, match="train-labels-idx1-ubyte is missing"):
        Data(path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS.astype("u1")[:5])
    with pytest.raises(DataError, match="12 images, but 5 labels"):
        Data(path)


@pytest.mark.parametrize("kind", ["npz", "idx", "gz", "parquet", "png"])
def test_damaged_files_raise_nothing_but_data_errors(tmp_path, kind):
    """Cut or flip bytes anywhere: the data still reads, or says in one line why not."""
    name = {"idx": "images-idx3", "gz": "images-idx3.gz"}.get(kind, f"a.{kind}")
    path = tmp_path / name
    if kind == "npz":
        np.savez_compressed(path, images=IMAGES, labels=LABELS)
    elif kind == "parquet":
        write_parquet(path, [encoded(image) for image in IMAGES], LABELS)
    elif kind == "png":
        (tmp_path / "a").mkdir()
        path = tmp_path / "a" / name
        path.write_bytes(encoded(IMAGES[0]))
    else:
        write_idx(path, IMAGES[:, 0], packed=kind == "gz")
        write_idx(tmp_path / "labels-idx1", LABELS.astype("u1"))
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(150):
        raw = bytearray(whole)
        if generator.random() < 0.3:
            del raw[generator.integers(len(raw)) :]
        else:
            for _ in range(generator.integers(1, 4)):
                raw[generator.integers(len(raw))] ^= 1 << generator.integers(8)
        path.write_bytes(bytes(raw))
        try:
            data = Data(tmp_path if kind == "png" else path)
            data.images(np.arange(len(data)))
        except DataError as problem:
            assert "\n" not in str(problem) and str(problem)


def test_the_suffix_is_not_needed(tmp_path):
    items = [encoded(image) for image in pixels()]
    write_parquet(tmp_path / "a", items, LABELS)
    np.savez(tmp_path / "b.npz", x=pixels(), y=LABELS)
    (tmp_path / "b.npz").rename(tmp_path / "b")
    for name in "ab":
        assert len(_read_path(tmp_path / name).labels) == 12


@pytest.mark.skipif(
    not SHARED.is_dir(), reason="the standard data sets are not beside the checkout"
)
@pytest.mark.parametrize(
    ("path", "count", "shape", "first"),
    [
        ("mnist/test.parquet", 10000, (1, 28, 28), [7, 2, 1, 0, 4]),
        ("mnist/train.parquet", 60000, (1, 28, 28), [5, 0, 4, 1, 9]),
        ("cifar10/test.parquet", 10000, (3, 32, 32), [3, 8, 8, 0, 6]),
    ],
)
def test_standard_data_sets(path, count, shape, first):
    data = Data(SHARED / path)
    assert len(data) == count and data.shape == shape and len(data.classes) == 10
    assert data.labels[:5].tolist() == first
    assert data.images(np.arange(50)).std() > 50
