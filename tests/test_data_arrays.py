"""Data without labels, and inputs that are no images, from every kind of source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import picture

from reticule.data import Data
from reticule.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 5, 4), np.uint8)
FLOATS = np.random.default_rng(1).standard_normal((6, 3, 5, 4)).astype("f4")
VECTORS = np.random.default_rng(2).standard_normal((6, 7))
LABELS = np.arange(6) % 3
ONE, TWO = {"x": (3, 5, 4)}, {"a": (3, 5, 4), "b": (7,)}


def everything(data: Data) -> tuple[np.ndarray, ...]:
    return data.inputs(np.arange(len(data)))


# Unlabelled images ----------------------------------------------------------------------------


def unlabelled(tmp_path: Path) -> dict[str, object]:
    """Sources of the same images."""
    (tmp_path / "flat").mkdir()
    for i, image in enumerate(IMAGES):
        from PIL import Image

        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "flat" / f"{i}.png")
    np.savez(tmp_path / "a.npz", images=IMAGES)
    np.savez(tmp_path / "b.npz", anything=IMAGES.transpose(0, 2, 3, 1), classes=["a"])
    np.savez(tmp_path / "c.npz", images=IMAGES.astype("f8"), radius=VECTORS)
    return {
        "flat": tmp_path / "flat", "a": tmp_path / "a.npz", "b": str(tmp_path / "b.npz"),
        "c": tmp_path / "c.npz", "pair": (IMAGES, None), "array": IMAGES, "mapping": {"x": IMAGES},
        "list": list(IMAGES), "iterator": iter(IMAGES), "tuples": [(image,) for image in IMAGES],
        "channels last": (image.transpose(1, 2, 0) for image in IMAGES),
        "dictionaries": [{"image": image} for image in IMAGES],
        "pillow": [Image.fromarray(image.transpose(1, 2, 0)) for image in IMAGES],
    }  # fmt: skip


def test_unlabelled_images_from_every_source(tmp_path: Path) -> None:
    for kind, source in unlabelled(tmp_path).items():
        data = Data(source, mean=0.5).fitted(ONE, 3, ("a", "b", "c"))
        assert data.holds_images and not data.labelled and data.classes in ((), ("a",)), kind
        assert (data.images(np.arange(6)) == IMAGES).all(), kind
        (got,) = everything(data)
        np.testing.assert_allclose(got, IMAGES / np.float32(255) - np.float32(0.5), rtol=1e-5)
        with pytest.raises(DataError, match="has no labels"):
            _ = data.labels
        assert (len(data.remarks) == 1) == (kind == "c")
    assert "not used are the arrays radius" in Data(tmp_path / "c.npz").remarks[0]


def test_parquet_without_labels(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    picture(0).save(tmp_path / "a.png")
    table = pa.table({"image": [(tmp_path / "a.png").read_bytes()] * 3})
    parquet.write_table(table, tmp_path / "a.parquet")
    data = Data(tmp_path / "a.parquet")
    assert not data.labelled and data.images([0, 2]).shape == (2, 3, 6, 7)


def test_images_without_labels_save_and_load(tmp_path: Path) -> None:
    Data(IMAGES).subset([4, 1]).save_npz(tmp_path / "a.npz")
    data = Data(tmp_path / "a.npz")
    assert not data.labelled and (data.images([0, 1]) == IMAGES[[4, 1]]).all()


# Prepared arrays ------------------------------------------------------------------------------

DTYPES = ("f2", "f4", "f8", "i1", "u2", "i8", "?", "u1")


@given(
    st.lists(st.lists(st.integers(1, 4), max_size=4), min_size=1, max_size=3),
    st.sampled_from(DTYPES), st.integers(1, 5), st.booleans(),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_any_rank_any_type_any_number(tmp_path_factory, shapes, dtype, count, labelled) -> None:
    folder = tmp_path_factory.mktemp("arrays")
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 2, (count, *shape)).astype(dtype) for shape in shapes]
    inputs = {f"input{i}": tuple(shape) for i, shape in enumerate(shapes)}
    named = {f"in.{name}": array for name, array in zip(inputs, arrays, strict=True)}
    labels = {"labels": np.arange(count)} if labelled else {}
    np.savez(folder / "a.npz", **dict(reversed(named.items())), **labels, **{"out.y": [1]})
    data = Data(folder / "a.npz").fitted(inputs)
    assert not data.holds_images and data.labelled == labelled and len(data) == count
    assert data.shapes == tuple(inputs.values())
    for got, array in zip(everything(data), arrays, strict=True):
        assert got.dtype == np.float32 and (got == array).all()
    data.save_npz(folder / "b.npz")
    again = Data(folder / "b.npz").fitted(inputs)
    assert again.labelled == labelled and again.digest() == data.digest()
    for got, array in zip(everything(again), arrays, strict=True):
        assert (got == array).all()


def two_inputs(tmp_path: Path) -> dict[str, object]:
    np.savez(tmp_path / "prefix.npz", **{"in.b": VECTORS, "in.a": FLOATS, "out.y": 3})
    np.savez(tmp_path / "names.npz", b=VECTORS, a=FLOATS)
    pairs = list(zip(FLOATS, VECTORS, strict=True))
    return {
        "prefix": tmp_path / "prefix.npz", "names": tmp_path / "names.npz",
        "mapping": {"a": FLOATS, "b": VECTORS, "c": VECTORS},
        "tuples": pairs, "iterator": iter(pairs), "lists": [list(pair) for pair in pairs],
        "dictionaries": ({"b": b, "a": a} for a, b in pairs),
        "prefixed dictionaries": [{"in.b": b, "in.a": a} for a, b in pairs],
    }  # fmt: skip


def test_two_inputs_of_different_shapes_from_every_source(tmp_path: Path) -> None:
    for kind, source in two_inputs(tmp_path).items():
        data = Data(source).fitted(TWO)
        a, b = everything(data)
        assert (a == FLOATS).all() and (b == VECTORS.astype("f4")).all(), kind
        batches = list(data.input_batches(4))
        assert [len(a) for a, _ in batches] == [4, 2]
        rest, held = data.split(0.3, seed=1)
        assert len(rest) == 4 and len(held) == 2 and not data.labelled
        with pytest.raises(DataError, match="not images"):
            data.images([0])
        with pytest.raises(DataError, match="2 arrays"):
            data.batch([0])
        assert data.fitted(TWO).digest() == data.digest()


def test_labels_beside_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=VECTORS, labels=LABELS, classes=["a", "b", "c"])
    np.savez(tmp_path / "b.npz", x=VECTORS, y=LABELS[:, None])
    sources = (
        tmp_path / "a.npz", tmp_path / "b.npz", list(zip(VECTORS, LABELS, strict=True)),
        [{"v": v, "label": n} for v, n in zip(VECTORS, LABELS, strict=True)],
    )  # fmt: skip
    for source in sources:
        data = Data(source).fitted({"x": (7,)}, 3)
        assert (data.labels == LABELS).all() and not data.holds_images
        (batch, labels), *_ = data.batches(6)
        assert (batch == VECTORS.astype("f4")).all() and (labels == LABELS).all()
        with pytest.raises(DataError, match="sample 2 has label 2, but the network has 2 classes"):
            data.fitted({"x": (7,)}, 2)


def test_x_and_y_as_two_inputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=FLOATS, y=VECTORS)
    x, y = everything(Data(tmp_path / "a.npz").fitted({"x": (3, 5, 4), "y": (7,)}))
    assert (x == FLOATS).all() and (y == VECTORS.astype("f4")).all()


def test_eight_bit_inputs_that_are_no_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"in.x": IMAGES})
    np.savez(tmp_path / "b.npz", tokens=IMAGES.reshape(6, -1))
    assert (everything(Data(tmp_path / "a.npz").fitted(ONE))[0] == IMAGES).all()
    assert Data(tmp_path / "b.npz").fitted({"x": (60,)}).shapes == ((60,),)


FITS = {
    "channels come last": ({"x": FLOATS.transpose(0, 2, 3, 1)}, ONE),
    "3 channels instead of 1": ({"x": FLOATS}, {"x": (1, 5, 4)}),
    "height or width is another": ({"x": FLOATS}, {"x": (3, 6, 4)}),
    "has no array for the network's input 'b', only a, c": ({"a": FLOATS, "c": VECTORS}, TWO),
    "has no array for the network's input 'a', only other": ({"other": FLOATS}, TWO),
    "has 2 arrays for each sample, the network 1 input ": (
        list(zip(FLOATS, VECTORS, strict=True)), ONE,
    ),
    "it needs 4 axes, the batch first": ({"x": VECTORS}, ONE),
    "the batch axis is missing": ({"x": np.zeros((3, 5, 4))}, ONE),
    "its axes are in another order": ({"x": FLOATS.transpose(0, 3, 2, 1)}, {"x": (5, 3, 4)}),
    "holds images, but the network has 2 inputs": (IMAGES, TWO),
    "holds images, but the network takes inputs of shape": (IMAGES, {"x": (7,)}),
    "the network takes .5, 4, 3., channels last": (IMAGES, {"x": (5, 4, 3)}),
    "channels, height and width are mixed up": (
        (IMAGES.transpose(0, 2, 3, 1)[:, :3], None), {"x": (3, 3, 4)},
    ),
    "has 4 channels, but 3 are needed": ((IMAGES[:, [0, 1, 2, 0]], None), ONE),
    "is 5x4, the network takes 9x9": (IMAGES, {"x": (3, 9, 9)}),
}  # fmt: skip


@pytest.mark.parametrize("message", FITS)
def test_the_true_reason_is_said(message: str) -> None:
    source, inputs = FITS[message]
    with pytest.raises(DataError, match=message) as caught:
        Data(source, role="val").fitted(inputs)
    assert str(caught.value).startswith("val: ") and "\n" not in str(caught.value)


BAD = {
    "different numbers of samples": {"a": FLOATS, "b": VECTORS[:3]},
    "a single number": {"in.x": np.float32(3)},
    "must hold numbers": {"in.x": np.array(["a"])},
    "must hold numbers, not complex": {"in.x": np.zeros(3, complex)},
    "NaN, infinite": {"in.x": np.array([1.0, np.nan])},
    "too large for float32": {"in.x": np.array([1e300])},
    "cannot hold": {"in.x": np.array([(1 << 24) + 1])},
    "no samples": {"in.x": np.zeros((0, 3))},
    "6 samples, but 5 labels": {"in.x": FLOATS, "labels": LABELS[:5]},
    "labels are float": {"in.x": FLOATS, "labels": LABELS / 1},
    "expected images and labels": {"labels": LABELS},
    r"\(none\)": {},
}


@pytest.mark.parametrize("message", BAD)
@pytest.mark.parametrize("file", [False, True])
def test_bad_arrays(tmp_path: Path, message: str, file: bool) -> None:
    np.savez(tmp_path / "bad.npz", **BAD[message])
    with pytest.raises(DataError, match=message):
        Data(tmp_path / "bad.npz" if file else BAD[message])


def broken(*values: object):
    yield from values
    raise RuntimeError("two\nlines")


ITEMS = {
    "sample 1 is of another kind": [IMAGES[0], FLOATS[0]],
    "sample 2 is of another kind": [(IMAGES[0], 0), (IMAGES[1], 1), IMAGES[2]],
    "sample 1: 'a' has shape": [{"a": VECTORS[0]}, {"a": VECTORS[0, :3]}],
    "sample 1: an array has shape": [VECTORS[0], VECTORS[0, :3]],
    "sample 1: nothing comes back: two lines": broken(IMAGES[0]),
    "has no images and no arrays": [],
    "sample 0 is empty": [()],
    "its label is no whole number": [{"image": IMAGES[0], "label": 0.5}],
    "must hold numbers": ["a", "b"],
    "arrays must hold numbers, not object": [None],
    "cannot read a int": 3,
    "cannot read a bytes": b"abc",
    "'x' do not form an array": {"x": [[1], [2, 3]]},
    "'classes' do not form an array": {"images": IMAGES, "classes": [[1], [2, 3]]},
    "labels have shape": {"x": IMAGES, "y": 3},
    "cannot read a NoneType": None,
}


@pytest.mark.parametrize("message", ITEMS)
def test_bad_items(message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        Data(ITEMS[message])
    assert "\n" not in str(caught.value)


def test_torch_gives_tensors_and_batches() -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader, TensorDataset

    floats = torch.tensor(FLOATS, requires_grad=True).detach()
    one, two = TensorDataset(floats), TensorDataset(floats, torch.tensor(VECTORS))
    assert (everything(Data(one).fitted(ONE))[0] == FLOATS).all()
    assert (everything(Data(two).fitted(TWO))[1] == VECTORS.astype("f4")).all()
    with pytest.raises(DataError, match=r"give its \.dataset"):
        Data(DataLoader(two))
    with pytest.raises(DataError, match="sample 0"):
        Data([torch.zeros(3, requires_grad=True)])


# Splitting and digests ------------------------------------------------------------------------


@given(st.integers(2, 50), st.floats(0.01, 0.99), st.integers(0, 99))
@settings(deadline=None)
def test_a_split_without_labels(count: int, fraction: float, seed: int) -> None:
    data = Data({"in.x": np.arange(count)})
    rest, held = data.split(fraction, seed)
    parts = [everything(part)[0] for part in (rest, held)]
    assert len(parts[1]) == min(max(round(count * fraction), 1), count - 1)
    assert all((np.diff(part) > 0).all() for part in parts)
    assert sorted(np.concatenate(parts)) == list(range(count))
    assert (everything(data.split(fraction, seed)[1])[0] == parts[1]).all()


@pytest.mark.parametrize("source", [IMAGES[:1], (IMAGES[:1], [0]), {"in.x": VECTORS[:1]}])
def test_one_input_cannot_be_split(source: object) -> None:
    with pytest.raises(DataError, match="a single input, of which nothing can be held out"):
        Data(source).split()


def test_digests_tell_apart_what_a_network_would() -> None:
    pixels = IMAGES.copy()
    pixels[3, 0, 0, 0] ^= 1
    labels = LABELS.copy()
    labels[0] = 1
    data = Data((IMAGES, LABELS))
    different = [
        data, Data((pixels, LABELS)), Data((IMAGES, labels)), Data((IMAGES, None)),
        data.subset([1, 0, 2, 3, 4, 5]), data.subset(np.arange(5)),
        Data((IMAGES, LABELS), mean=0.1),
        Data((IMAGES, LABELS), crop=3), data.fitted({"x": (1, 5, 4)}), Data({"in.x": IMAGES}),
        Data((IMAGES.reshape(6, 3, 4, 5), LABELS)), Data({"in.x": IMAGES, "labels": LABELS}),
    ]  # fmt: skip
    assert len({each.digest() for each in different}) == len(different)
    assert Data((IMAGES.copy(), LABELS.astype("u1"))).digest() == data.digest()
    assert data.subset(np.arange(6)).digest() == data.digest()


def test_digests_of_files(tmp_path: Path) -> None:
    first = Data(unlabelled(tmp_path)["flat"]).digest()
    assert Data(tmp_path / "flat").digest() == first
    picture(9, 5, 4).save(tmp_path / "flat" / "3.png")
    assert Data(tmp_path / "flat").digest() != first


def test_sets_too_large_for_memory_are_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from reticule.data import items

    monkeypatch.setattr(items, "CACHE_BYTES", 100)
    images = [image[:1] if i == 2 else image for i, image in enumerate(IMAGES)]
    for labels in (LABELS.tolist(), None):
        source = images if labels is None else list(zip(images, labels, strict=True))
        data = Data(source)
        assert data.shape == (3, 5, 4) and data.labelled == (labels is not None)
        got = data.images([3, 2])
        assert (got[0] == IMAGES[3]).all() and (got[1] == IMAGES[2, :1]).all()
        assert data.digest() != data.subset([1, 0]).digest()
        assert len(data.check()) == 6
    assert Data(iter(IMAGES)).images([5]).shape == (1, 3, 5, 4)  # kept: it cannot be asked again
