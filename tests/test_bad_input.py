"""Bad input: one clear line on standard error, exit code 2, nothing half-written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_files
from onnx_models import Maker
from PIL import Image
from tiny_files import Files

from reticule.cli import main
from reticule.codec import About, save
from reticule.data import Preprocessing
from reticule.forms import Packed
from reticule.graph.onnx_out import to_model

Fails = Callable[..., str]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return tiny_files.write(tmp_path)


@pytest.fixture
def ret(files: Files) -> Path:
    path = files.folder / "tiny.ret"
    save(path, Packed.of(tiny_files.network()), About(Preprocessing()))
    return path


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Fails:
    """Run a command that must fail as the contract says; gives the line that it printed."""

    def run_command(*arguments: object) -> str:
        before = snapshot(tmp_path)
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert exit_info.value.code == 2, err
        assert err.startswith("reticule: ") and err.count("\n") == 1 and err.endswith("\n"), err
        assert "Traceback" not in err
        assert out == ""
        assert snapshot(tmp_path) == before
        return err

    return run_command


def snapshot(folder: Path) -> dict[str, bytes]:
    """All files of a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder"
        for path in folder.rglob("*")
    }


def compressing(files: Files, **changed: object) -> list[object]:
    """A command that works, apart from what is changed."""
    options: dict[str, object] = {
        "model": files.model,
        "output": files.folder / "out.ret",
        "recipe": files.recipe,
        "train": files.data,
        **changed,
    }
    model = options.pop("model")
    given = ((f"--{name.replace('_', '-')}", value) for name, value in options.items() if value)
    return ["compress", model, *(part for pair in given for part in pair)]


# The network ----------------------------------------------------------------------------------


def test_missing_files(fails: Fails, files: Files) -> None:
    missing = files.folder / "missing.onnx"
    assert "missing.onnx" in fails(*compressing(files, model=missing))
    assert "missing.onnx" in fails("eval", missing, "--data", files.data)
    assert "missing.ret" in fails("inspect", files.folder / "missing.ret")
    assert "missing.ret" in fails("run", files.folder / "missing.ret", files.model)
    assert "missing.npz" in fails(*compressing(files, train=files.folder / "missing.npz"))
    assert "missing.yaml" in fails(*compressing(files, recipe=files.folder / "missing.yaml"))
    assert "missing.py" in fails("inspect", f"{files.folder / 'missing.py'}:net")
    assert "no such file" in fails("inspect", files.folder / "missing")


@pytest.mark.parametrize("content", [b"", b"not a network", bytes(range(256)) * 9])
@pytest.mark.parametrize("name", ["model.onnx", "model.ret", "model.bin"])
def test_files_that_are_no_network(fails: Fails, files: Files, name: str, content: bytes) -> None:
    path = files.folder / name
    path.write_bytes(content)
    assert name in fails("inspect", path)
    assert name in fails(*compressing(files, model=path))


@pytest.mark.parametrize("cut", [5, 60, -1])
def test_a_damaged_ret_file(fails: Fails, files: Files, ret: Path, cut: int) -> None:
    whole = ret.read_bytes()
    ret.write_bytes(whole[:cut])
    for command in (
        ("inspect", ret),
        ("eval", ret, "--data", files.data),
        ("export", ret, "-o", files.folder / "out.onnx"),
        ("export", ret, "-o", files.folder / "out.safetensors"),
    ):
        assert "tiny.ret" in fails(*command)
    ret.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    assert "damaged" in fails("inspect", ret)


def test_an_unknown_operator_is_named_with_its_node(fails: Fails, files: Files) -> None:
    maker = Maker()
    x = maker.input("x", ["N", 1, 6, 6])
    maker.output(maker.node("Det", maker.conv(x, "conv", 6, 1, 1, 1)))
    path = files.folder / "odd.onnx"
    onnx.save(maker.model(), path)
    line = fails(*compressing(files, model=path))
    assert "Det" in line and "det_" in line


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(fails: Fails, files: Files, value: float) -> None:
    network = tiny_files.network()
    tensors = {name: tensor.copy() for name, tensor in network.tensors.items()}
    tensors["fc.weight"][0, 0] = value
    path = files.folder / "nan.onnx"
    onnx.save(to_model(network.with_tensors(tensors)), path)
    assert "fc.weight" in fails(*compressing(files, model=path))


PYTHON = """\
import torch
def number(): return 7
def broken(): raise KeyError("first line\\nsecond line")
def leaves(): raise SystemExit(0)
def no_shape(): return torch.nn.Linear(3, 3)
"""


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("number", "int"),
        ("broken", "KeyError"),
        ("leaves", "SystemExit"),
        ("no_shape", "--input-shape"),
        ("absent", "absent"),
    ],
)
def test_python_functions_that_give_no_network(
    fails: Fails, files: Files, function: str, said: str
) -> None:
    path = files.folder / "models.py"
    path.write_text(PYTHON, "utf-8")
    assert said in fails("inspect", f"{path}:{function}")


def test_python_files_that_do_not_run(fails: Fails, files: Files) -> None:
    path = files.folder / "models.py"
    path.write_text("def (", "utf-8")
    assert "SyntaxError" in fails("inspect", f"{path}:net")


# Images and labels ----------------------------------------------------------------------------


def test_images_of_another_size(fails: Fails, files: Files, ret: Path) -> None:
    np.savez(files.data, **tiny_files.images(side=9))
    for command in (compressing(files), ["eval", ret, "--data", files.data]):
        line = fails(*command)
        assert "images.npz" in line and "9" in line and "6" in line
    image = files.folder / "large.png"
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(image)
    line = fails("run", ret, image)
    assert "9x7" in line and "6x6" in line


def test_images_that_are_none(fails: Fails, files: Files, ret: Path) -> None:
    assert "tiny.onnx" in fails("run", ret, files.model)
    assert "missing.png" in fails("run", ret, files.folder / "missing.png")


def test_labels_out_of_range(fails: Fails, files: Files) -> None:
    np.savez(files.data, **tiny_files.images(classes=5))
    line = fails(*compressing(files))
    assert "label 3" in line and "3 classes" in line
    assert "label 3" in fails("eval", files.model, "--data", files.data)


def test_empty_data(fails: Fails, files: Files) -> None:
    np.savez(files.data, images=np.zeros((0, 1, 6, 6), "u1"), labels=np.zeros(0, "i8"))
    assert "no images" in fails(*compressing(files))
    folder = files.folder / "empty"
    folder.mkdir()
    assert "empty" in fails(*compressing(files, train=folder))
    (folder / "class").mkdir()
    assert "no images" in fails("eval", files.model, "--data", folder)


@pytest.mark.parametrize("changed", [{"scale": 0}, {"std": "1,0"}, {"mean": "a"}, {"mean": "1,2"}])
def test_impossible_preprocessing(fails: Fails, files: Files, changed: dict[str, object]) -> None:
    command = compressing(files, **changed)
    if "scale" in changed:
        command += ["--scale", 0]
    assert any(name in fails(*command) for name in changed)


# Recipes and options --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages: [", "YAML"),
        ("name: x\nstages: []", "stages"),
        ("name: x\nstages: [{method: threshold-prunning}]", "threshold-pruning"),
        ("name: x\nstages: [{method: threshold-pruning, denstiy: 1}]", "denstiy"),
        ("name: x\nstages: [{method: threshold-pruning, density: 7}]", "density"),
        ("name: x\nstages: [{method: retrain, training: {epochs: few}}]", "epochs"),
        ("7", "yaml"),
    ],
)
def test_recipes_that_are_wrong(fails: Fails, files: Files, text: str, said: str) -> None:
    Path(files.recipe).write_text(text, "utf-8")
    line = fails(*compressing(files))
    assert "tiny.yaml" in line and said in line


def test_recipes_that_do_not_exist(fails: Fails, files: Files) -> None:
    for command in (compressing(files, recipe="deep-compresion"), ["recipes", "deep-compresion"]):
        line = fails(*command)
        assert "'deep-compresion'" in line and "deep-compression" in line


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"train": None}, "training images"),
        ({"train": None, "max_drop": 1}, "--max-drop"),
        ({"max_drop": 101}, "max_drop"),
        ({"max_drop": "some"}, "--max-drop"),
        ({"seed": -1}, "--seed"),
        ({"input_shape": "1,two"}, "--input-shape"),
        ({"input_shape": "3,6,6"}, "(1, 6, 6)"),
        ({"no_such_option": 1}, "--no-such-option"),
    ],
)
def test_options_that_are_wrong(
    fails: Fails, files: Files, changed: dict[str, object], said: str
) -> None:
    assert said in fails(*compressing(files, **changed))


def test_usage_errors(fails: Fails) -> None:
    assert "MODEL" in fails("compress")
    assert "packk" in fails("packk")


def test_a_journal_of_other_settings_is_not_continued(fails: Fails, files: Files) -> None:
    journal = files.folder / "out.ret.journal"
    journal.mkdir()
    (journal / "journal.jsonl").write_text('{"run": "another"}\n', "utf-8")
    assert "--resume" in fails(*compressing(files), "--resume")


# Places to write ------------------------------------------------------------------------------


def test_outputs_that_cannot_be_written(fails: Fails, files: Files, ret: Path) -> None:
    missing = files.folder / "missing"
    assert "missing" in fails(*compressing(files, output=missing / "out.ret"))
    assert "missing" in fails(*compressing(files, report=missing / "report.html"))
    assert ".ret" in fails(*compressing(files, output=files.folder / "out.bin"))
    assert "missing" in fails("export", ret, "-o", missing / "out.onnx")
    assert ".safetensors" in fails("export", ret, "-o", files.folder / "out.h5")
    (files.folder / "out.ret").mkdir()
    assert "folder" in fails(*compressing(files))


def test_places_are_checked_before_any_work(
    fails: Fails, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reticule.cli import compressing as command

    def opened(*_: object) -> None:
        raise AssertionError("the network was read first")

    monkeypatch.setattr(command, "open_model", opened)
    fails(*compressing(files, output=files.folder / "missing" / "out.ret"))


class FullDisk:
    """Opens files as ever, but nothing can be written to those whose name matches."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.written = 0

    def fsync(self, descriptor: int) -> None:
        if self.part in os.readlink(f"/proc/self/fd/{descriptor}"):
            self.written += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to name open files")
def test_a_full_disk(
    files: Files,
    ret: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = snapshot(files.folder)
    for part, command in (
        ("out.ret", compressing(files)),
        ("out.onnx", ["export", ret, "-o", files.folder / "out.onnx"]),
        ("out.safetensors", ["export", ret, "-o", files.folder / "out.safetensors"]),
    ):
        disk = FullDisk(part)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", disk.fsync)
            with pytest.raises(SystemExit) as exit_info:
                main([str(argument) for argument in command])
        assert disk.written == 1
        assert exit_info.value.code == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert part in line and os.strerror(errno.ENOSPC) in line
        kept = {n: c for n, c in snapshot(files.folder).items() if "journal" not in n}
        assert kept == before
    with pytest.raises(SystemExit) as exit_info:  # there is room again: nothing was lost
        main([*(str(argument) for argument in compressing(files)), "--resume"])
    assert exit_info.value.code == 0
    assert (files.folder / "out.ret").exists()
    assert not (files.folder / "out.ret.journal").exists()


def test_out_of_memory(fails: Fails, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    from reticule.cli import evaluating

    def raising(problem: BaseException) -> Callable[..., Any]:
        def raises(*_: object) -> None:
            raise problem

        return raises

    monkeypatch.setattr(evaluating, "open_model", raising(MemoryError()))
    assert "out of memory" in fails("eval", files.model, "--data", files.data)
    denied = PermissionError(errno.EACCES, "Permission denied", "some/file")
    monkeypatch.setattr(evaluating, "open_model", raising(denied))
    assert "some/file: Permission denied" in fails("eval", files.model, "--data", files.data)
