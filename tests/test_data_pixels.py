"""Pixels: orientation, transparency, grey and colour, resize and crop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import picture, write_tree
from PIL import Image

from reticule.cli import main
from reticule.codec import About, dumps, loads
from reticule.data import Data, Preprocessing
from reticule.data.geometry import INTERPOLATIONS, MOST_PIXELS, MOST_SIDE, Geometry
from reticule.data.orientation import orientation
from reticule.engine import Model
from reticule.errors import DataError, FormatError, ModelError
from reticule.forms import Packed
from reticule.graph import Graph, Network, Node

ORIENTATION = 0x0112


def array(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


# Orientation ----------------------------------------------------------------------------------

UPRIGHT = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: lambda a: np.rot90(a),
}  # fmt: skip


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("grey", [False, True])
def test_orientation_tags_are_followed(
    tmp_path: Path, orientation: int, kind: str, grey: bool
) -> None:
    stored = picture(1, 16, 24, grey)
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    more = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0}
    stored.save(tmp_path / f"a.{kind.lower()}", kind, exif=tags, **more)
    if kind in ("JPEG", "WEBP"):  # what their coding makes of it is not our concern
        stored.save(tmp_path.parent / f"plain.{kind}", kind, **more)
        stored = Image.open(tmp_path.parent / f"plain.{kind}")
        stored = stored.convert("L") if grey and kind == "JPEG" else stored
    expected = UPRIGHT[orientation](np.asarray(stored))
    got = Data(tmp_path).images([0])[0]
    assert (got == (expected[None] if expected.ndim == 2 else expected.transpose(2, 0, 1))).all()


def test_images_in_memory_are_turned_too() -> None:
    image = picture(1, 4, 8)
    image.getexif()[ORIENTATION] = 6
    image.info["exif"] = image.getexif().tobytes()
    assert Data([image]).shape == (3, 8, 4)


# Transparency ---------------------------------------------------------------------------------


@given(st.integers(0, 255), st.integers(0, 255), st.tuples(*[st.integers(0, 255)] * 3))
@settings(deadline=None, max_examples=30)
def test_alpha_is_composed_onto_the_background(value, alpha, background) -> None:
    image = Image.new("RGBA", (2, 2), (value, 255 - value, 7, alpha))
    data = Data([(image, 0)], background=background)
    colour = np.array([value, 255 - value, 7])
    expected = (colour * alpha + np.array(background) * (255 - alpha)) / 255
    assert np.abs(data.images([0])[0, :, 0, 0] - expected).max() <= 1
    assert Data([(image, 0)]).preprocessing.background == (255, 255, 255)


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa", "P", "L", "RGB", "1"])
def test_every_kind_of_transparency(tmp_path: Path, mode: str) -> None:
    """Where nothing is opaque, the background alone is seen."""
    image = Image.new("RGBA", (3, 2), (90, 20, 200, 0))
    if mode in ("P", "L", "RGB", "1"):
        image = Image.new(mode, (3, 2), 0)
        image.save(tmp_path / "a.png", transparency=(0, 0, 0) if mode == "RGB" else 0)
    elif mode in ("La", "RGBa", "PA"):
        data = Data([image.convert("LA" if mode == "La" else "RGBA").convert(mode)])
        assert (data.images([0]) == 255).all()
        return
    else:
        image.convert(mode).save(tmp_path / "a.png")
    data = Data(tmp_path)
    assert (data.images([0]) == 255).all()
    green = Data(tmp_path, background=(0, 255, 0))
    network = {"x": (3, 2, 3)}
    seen = green.fitted(network).images([0])[0, :, 0, 0].tolist()
    assert seen == ([0, 255, 0] if mode in ("RGBA", "P", "RGB") else [150] * 3)


# Grey and colour ------------------------------------------------------------------------------


def test_grey_is_that_of_pillow() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8))
    data = Data([(image, 0)]).fitted({"x": (1, 256, 256)})
    assert (data.images([0])[0, 0] == np.asarray(image.convert("L"))).all()


@pytest.mark.parametrize("first", ["grey", "colour"])
@pytest.mark.parametrize("route", ["folder", "npz", "items", "parquet"])
def test_grey_and_colour_mix_by_every_route(tmp_path: Path, first: str, route: str) -> None:
    kinds = [first == "grey", first != "grey", first == "grey"]
    images = [picture(i, grey=kind) for i, kind in enumerate(kinds)]
    folder = write_tree(tmp_path / "pets", ("cat/", "dog/"))
    for i, image in enumerate(images):
        image.save(folder / ("cat" if i < 2 else "dog") / f"{i}.png")
    source: object = folder
    if route == "items":
        source = [(image, 0) for image in images]
    elif route == "parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        items = [path.read_bytes() for path in sorted(folder.rglob("*.png"))]
        parquet.write_table(pa.table({"image": items, "label": [0, 0, 1]}), tmp_path / "a.parquet")
        source = tmp_path / "a.parquet"
    elif route == "npz":
        Data(folder).save_npz(tmp_path / "a.npz")
        source = tmp_path / "a.npz"
    data = Data(source)
    expected = np.stack([array(image.convert("RGB")) for image in images])
    assert data.shape == (3, 6, 7) and data.shapes == ((3, 6, 7),)
    for chosen in ([0], [1], [2, 0, 1]):
        assert (data.images(chosen) == expected[chosen]).all()
        assert data.batch(chosen).shape == (len(chosen), 3, 6, 7)
    grey = data.fitted({"x": (1, 6, 7)}).images([0, 1, 2])
    assert (grey[:, 0] == [np.asarray(image.convert("L")) for image in images]).all()


# Resize and crop ------------------------------------------------------------------------------

SIZES = st.integers(1, 40)
SIDES = st.one_of(st.none(), SIZES, st.tuples(SIZES, SIZES))


@given(SIZES, SIZES, SIDES, SIDES, st.sampled_from(INTERPOLATIONS), st.sampled_from([1, 2, 3, 4]))
@settings(deadline=None, max_examples=150)
def test_geometry_is_that_of_torchvision_on_pillow(
    height, width, resize, crop, interpolation, channels
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (channels, height, width), np.uint8)
    high, wide = height, width
    if isinstance(resize, tuple):
        high, wide = resize
    elif resize is not None:
        short, long = min(height, width), max(height, width)
        other = int(resize * long / short)
        high, wide = (resize, other) if height <= width else (other, resize)
    kind = Image.Resampling[interpolation.upper()]
    planes = [Image.fromarray(plane).resize((wide, high), kind) for plane in image]
    expected = np.stack([np.asarray(plane) for plane in planes]) if resize else image
    prepare = Preprocessing(resize=resize, crop=crop, interpolation=interpolation)
    if crop is not None:
        rows, columns = crop if isinstance(crop, tuple) else (crop, crop)
        if rows > high or columns > wide:
            with pytest.raises(DataError, match="smaller than the crop"):
                prepare.resized(image)
            return
        top, left = round((high - rows) / 2), round((wide - columns) / 2)
        expected = expected[:, top : top + rows, left : left + columns]
    assert (prepare.resized(image) == expected).all()


@given(
    SIDES, SIDES, st.sampled_from(INTERPOLATIONS),
    st.one_of(st.integers(0, 255), st.tuples(*[st.integers(0, 255)] * 3)),
)  # fmt: skip
def test_settings_survive_json_and_defaults_are_left_out(resize, crop, kind, background) -> None:
    value = Preprocessing(255, (0,), (1,), resize, crop, kind, background)
    plain = json.loads(json.dumps(value.to_json()))
    assert Preprocessing.from_json(plain) == value
    assert ("resize" in plain) == (resize is not None)
    assert ("background" in plain) == (value.background != (255, 255, 255))
    assert set(Preprocessing().to_json()) == {"scale", "mean", "std"}


BAD = [
    {"resize": 0}, {"resize": -1}, {"resize": MOST_SIDE + 1}, {"resize": True}, {"resize": 2.0},
    {"resize": "8"}, {"resize": [8]}, {"resize": [8, 8, 8]}, {"resize": [MOST_SIDE] * 2},
    {"resize": None}, {"resize": []}, {"crop": [8, 0]}, {"crop": {}}, {"crop": 10**400},
    {"interpolation": "hamming"}, {"interpolation": None}, {"interpolation": 2},
    {"interpolation": ["box"]}, {"background": 255}, {"background": [1, 2]},
    {"background": [1, 2, 256]}, {"background": [1.0, 2, 3]}, {"background": [True, 1, 1]},
    {"background": None}, {"zoom": 2}, {"resize": [[8], 8]}, {"interpolation": "bilinear\n"},
]  # fmt: skip


@pytest.mark.parametrize("bad", [b for b in BAD if b != {"resize": [8]}], ids=str)
def test_bad_settings_in_a_file(bad: dict[str, object]) -> None:
    with pytest.raises(DataError, match="preprocessing") as caught:
        Preprocessing.from_json({"scale": 255.0, "mean": [0.0], "std": [1.0], **bad})
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


def test_a_long_thin_image_cannot_fill_the_memory() -> None:
    with pytest.raises(DataError, match="would become"):
        Geometry(4096).apply(np.zeros((1, 1, 1 + MOST_PIXELS // 4096), np.uint8))


def tiny(channels: int = 3, side: int = 8) -> Packed:
    nodes = (Node("Flatten", "f", ("x",), ("v",)), Node("Gemm", "g", ("v", "w"), ("y",)))
    weights = np.random.default_rng(0).standard_normal((3, channels * side * side)).astype("f4")
    graph = Graph({"x": (channels, side, side)}, ("y",), nodes, {"w": weights.shape})
    return Packed.of(Network(graph, {"w": weights}))


PREPARE = Preprocessing(255, (0.5,), (0.25,), 10, 8, "bicubic", (1, 2, 3))


def test_the_file_keeps_geometry_and_old_bytes_stay() -> None:
    packed = tiny()
    assert loads(dumps(packed, About(PREPARE))).about.preprocessing == PREPARE
    plain = Preprocessing(255, (0.5,), (0.25,))
    assert b"resize" not in json.dumps(About(plain).to_json()).encode()
    blob = dumps(packed, About(PREPARE))
    assert dumps(loads(blob).packed, loads(blob).about) == blob


@pytest.mark.parametrize("bad", [{"resize": 0}, {"zoom": 1}, {"interpolation": "x" * 500}], ids=str)
def test_a_file_with_impossible_geometry_is_refused(bad, monkeypatch) -> None:
    plain = {**Preprocessing().to_json(), **bad}
    monkeypatch.setattr(Preprocessing, "to_json", lambda self: plain)
    with pytest.raises(FormatError, match="preprocessing"):
        loads(dumps(tiny(), About(Preprocessing())))


def test_predict_images_takes_any_size() -> None:
    model = Model(tiny(), About(PREPARE))
    images = [array(picture(i, 9 + i, 15)) for i in range(4)]
    expected = model(PREPARE.apply(np.stack([PREPARE.resized(image) for image in images])))
    np.testing.assert_array_equal(model.predict_images(images), expected)
    same = np.stack([images[0]] * 3)
    np.testing.assert_allclose(model.predict_images(same), expected[[0, 0, 0]], rtol=1e-5)
    with pytest.raises(ModelError, match="uint8"):
        model.predict_images([image / 255 for image in images])
    for bad in (3, None, images[0][0], "text", [images[0], None]):
        with pytest.raises((ModelError, DataError)):
            model.predict_images(bad)
    assert model.predict_images(np.zeros((0, 3, 8, 8), np.uint8)).shape == (0, 3)
    plain = Model(tiny(), About(Preprocessing()))
    with pytest.raises(ModelError, match="channels come first"):
        plain.predict_images(np.zeros((2, 8, 8, 3), np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of several sizes, as people have them."""
    folder = tmp_path / "photos"
    for label in ("a", "b", "c"):
        (folder / label).mkdir(parents=True)
        for i in range(5):
            picture(i, 12 + i, 20 - i, grey=i == 3).save(folder / label / f"{label}{i}.png")
    return folder


def test_photos_of_all_sizes_are_resized_and_cropped(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the network takes 8x8.*give --resize and --crop"):
        Data(photos).fitted({"x": (3, 8, 8)})
    with pytest.raises(DataError, match=r"13x19.*the first is 12x20"):
        Data(photos).images([0, 1])
    data = Data(photos, resize=10, crop=8).fitted({"x": (3, 8, 8)}, 3).check()
    files = sorted(photos.rglob("*.png"))
    prepare = data.preprocessing
    expected = [prepare.resized(array(Image.open(file).convert("RGB"))) for file in files]
    assert (data.images(np.arange(15)) == expected).all()
    assert Data(photos, resize=10, crop=8).shape == (3, 8, 8)
    with pytest.raises(DataError, match=r"a0\.png is 12x20, smaller than the crop of 13x13"):
        Data(photos, crop=13).fitted({"x": (3, 13, 13)}).check()
    with pytest.raises(DataError, match="when resized and cropped, the network takes 8x8"):
        Data(photos, resize=10).fitted({"x": (3, 8, 8)})
    data.save_npz(tmp_path / "small.npz")  # pixels there are final
    again = Data(tmp_path / "small.npz", resize=10, crop=8).fitted({"x": (3, 8, 8)})
    assert (again.images(np.arange(15)) == data.images(np.arange(15))).all()


def test_arrays_are_resized_too() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 12, 12), np.uint8)
    data = Data((images, np.arange(5)), crop=8)
    assert (data.images([4, 0]) == images[[4, 0], :, 2:10, 2:10]).all()
    assert data.with_preprocessing(Preprocessing()).shape == (3, 12, 12)
    fitted = data.fitted({"x": (1, 8, 8)})
    grey = Data((images, np.arange(5))).fitted({"x": (1, 12, 12)})
    assert (fitted.images([3]) == grey.images([3])[:, :, 2:10, 2:10]).all()


def test_the_commands_resize_as_told_or_stored(photos: Path, tmp_path: Path, capsys) -> None:
    from reticule.codec import load, save
    from reticule.graph.onnx_out import to_onnx

    def run(*command: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in command])
        return (end.value.code or 0, *capsys.readouterr())

    prepare = Preprocessing(255, (0.5,), (0.25,), 10, 8)
    ret, model = tmp_path / "a.ret", tmp_path / "a.onnx"
    save(ret, tiny(), About(prepare, ("a", "b", "c")))
    to_onnx(tiny().network(), model)
    flags = ("--mean", 0.5, "--std", 0.25, "--resize", 10, "--crop", 8)
    stored = run("eval", ret, "--data", photos, "--json")
    told = run("eval", model, "--data", photos, *flags, "--json")
    assert stored[0] == told[0] == 0 and stored[2] == told[2] == ""
    accuracy = [json.loads(out.splitlines()[-1])["accuracy"] for _, out, _ in (stored, told)]
    assert accuracy[0] == accuracy[1]
    code, out, err = run("run", ret, *sorted(photos.rglob("*.png"))[:4], "--json")
    assert code == 0, err
    data = Data(photos).with_preprocessing(prepare).fitted({"x": (3, 8, 8)})
    guesses = Model(tiny())(data.batch(np.arange(4))).argmax(1)
    assert [a["top"][0]["class"] for a in json.loads(out)["images"]] == guesses.tolist()
    other = run("run", ret, photos / "a" / "a0.png", "--resize", "9,9", "--crop", 8, "--json")
    assert other[0] == 0 and other[1] != out
    packed = tmp_path / "b.ret"
    compressing = ("compress", model, "-o", packed, "--recipe", "lossless", "--test", photos)
    assert run(*compressing, *flags, "--interpolation", "box")[0] == 0
    about = load(packed).about
    assert about.preprocessing == Preprocessing(255, (0.5,), (0.25,), 10, 8, "box")
    assert about.labels == ("a", "b", "c")
    for bad in (("--resize", "a"), ("--crop", "0"), ("--interpolation", "x"), ("--resize", "0")):
        code, _, err = run("eval", model, "--data", photos, *bad)
        assert code == 2 and bad[0].strip("-") in err and err.count("\n") == 1


def test_a_file_without_preprocessing_says_that_it_is_unknown(
    photos: Path, tmp_path: Path, capsys
) -> None:
    from reticule.codec import load, save
    from reticule.graph.onnx_out import to_onnx

    def run(*command: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in command])
        return (end.value.code or 0, *capsys.readouterr())

    ret, model = tmp_path / "a.ret", tmp_path / "a.onnx"
    save(ret, tiny(), About())
    to_onnx(tiny().network(), model)
    sizes = ("--resize", "8,8")
    for command in (("eval", ret, "--data", photos), ("run", ret, photos / "a" / "a0.png")):
        code, _, err = run(*command, *sizes)
        assert code == 2 and "--scale 255" in err and err.count("\n") == 1
        assert run(*command, *sizes, "--scale", 255)[0] == 0
    code, _, err = run("eval", model, "--data", photos, *sizes)
    assert code == 0 and "pixel/255" in err
    bare, flagged = tmp_path / "b.ret", tmp_path / "c.ret"
    assert run("compress", model, "-o", bare, "--recipe", "lossless")[0] == 0
    assert load(bare).about.preprocessing is None
    assert run("compress", model, "-o", flagged, "--recipe", "lossless", "--scale", 200)[0] == 0
    assert load(flagged).about.preprocessing == Preprocessing(200)


@pytest.mark.filterwarnings("error")
def test_damaged_tags_say_nothing(tmp_path: Path) -> None:
    """Any bytes as tags: the image is read, turned or not, and nothing is warned about."""
    tags = Image.Exif()
    tags[ORIENTATION] = 6
    good, rng = tags.tobytes(), np.random.default_rng(0)
    turned = 0
    for _ in range(300):
        damaged = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(6, len(damaged))] = rng.integers(256)
        damaged = damaged[: rng.integers(6, len(damaged) + 1)]
        image = picture(0, 4, 8)
        image.info["exif"] = bytes(damaged)
        turned += Data([image]).shape == (3, 8, 4)
    assert 0 < turned < 300


@given(st.sampled_from(sorted(UPRIGHT)), st.booleans(), st.binary(max_size=20))
@settings(deadline=None)
def test_orientation_is_read_as_pillow_reads_it(value: int, motorola: bool, rest: bytes) -> None:
    tags = Image.Exif()
    tags[0x010F], tags[ORIENTATION], tags[0x0131] = "maker", value, rest.hex()
    data = tags.tobytes()
    if motorola:
        tags = Image.Exif()
        tags.endian = ">"
        tags[ORIENTATION] = value
        data = tags.tobytes()
    assert orientation({"exif": data}) == value
    assert orientation({"xmp": f'<x tiff:Orientation="{value}"/>'.encode()}) == value
    lines = "\n".join(["", "exif", str(len(data)), data.hex()])
    assert orientation({"Raw profile type exif": lines}) == value
    assert orientation({"exif": rest}) == 1 or rest[:2] in (b"II", b"MM")


@pytest.mark.parametrize("source", ["dictionary", "folder"])
def test_names_that_a_file_could_not_keep(tmp_path: Path, source: str) -> None:
    if source == "dictionary":
        images = np.zeros((2, 1, 2, 2), np.uint8)
        for name in ("a\nb", "x" * 1025, "\x1b[31m"):
            with pytest.raises(DataError, match="rename it"):
                Data({"images": images, "labels": [0, 1], "classes": np.array(["a", name])})
        return
    with pytest.raises(DataError, match="rename it") as caught:
        Data(write_tree(tmp_path / "pets", ("a/1.png", "b\x1b[31m/2.png")))
    assert "\x1b" not in str(caught.value)
    bad = write_tree(tmp_path / "flat", ("1.png",), {"\x1b[31m.png": b"x"})
    with pytest.raises(DataError) as caught:
        Data(bad).check()
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("grey", ["all", "first", "none"])
def test_a_module_is_shown_images_as_it_takes_them(
    tmp_path: Path, capsys, channels: int, grey: str
) -> None:
    pytest.importorskip("torch")
    for label in ("a", "b"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        kind = grey == "all" or (grey == "first" and label == "a")
        picture(1, 9, 12, grey=kind).save(tmp_path / "photos" / label / "a.png")
    (tmp_path / "m.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Sequential("
        f"torch.nn.Conv2d({channels}, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 2))\n"
    )
    with pytest.raises(SystemExit) as end:
        main([
            "eval", f"{tmp_path / 'm.py'}:net", "--data", str(tmp_path / "photos"), "--scale",
            "255", "--resize", "8", "--crop", "8", "--json",
        ])  # fmt: skip
    out, err = capsys.readouterr()
    assert not end.value.code and json.loads(out)["n"] == 2 and err == ""
