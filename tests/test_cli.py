"""The commands: what they print, what they write, how they exit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_files
from PIL import Image
from tiny_files import Files

import reticule
from reticule.cli import main
from reticule.codec import load
from reticule.engine import Model

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process: exit code, standard output, standard error."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        code = exit_info.value.code
        return code if isinstance(code, int) else 0, out, err

    return run_command


def last_json(out: str) -> dict[str, Any]:
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return tiny_files.write(tmp_path_factory.mktemp("files"))


def compressing(files: Files, output: Path, *more: object) -> list[object]:
    data = ["--train", files.data, "--test", files.data, "--scale", "200"]
    return ["compress", files.model, "-o", output, "--recipe", files.recipe, *data, *more]


@pytest.fixture(scope="module")
def compressed(files: Files) -> tuple[Path, dict[str, Any]]:
    """A compressed network and the JSON that the command printed, from a process of its own."""
    output = files.folder / "tiny.ret"
    command = compressing(files, output, "--json", "--report", f"{output}.html")
    done = subprocess.run(
        [sys.executable, "-m", "reticule", *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return output, last_json(done.stdout)


# compress -------------------------------------------------------------------------------------


def test_compress_prints_the_contract(compressed: tuple[Path, dict[str, Any]]) -> None:
    path, figures = compressed
    assert {
        "recipe", "seed", "bytes_file", "bytes_weights", "bytes_original", "ratio", "ratio_file",
        "accuracy_before", "accuracy_after", "measured_on", "drop_points", "budget_met", "seconds",
    } <= set(figures)  # fmt: skip
    network = tiny_files.network()
    stored = load(path)
    assert figures["bytes_file"] == path.stat().st_size
    assert figures["bytes_weights"] == stored.bytes_weights
    assert figures["bytes_original"] == 4 * network.parameters
    assert figures["ratio"] == pytest.approx(4 * network.parameters / stored.bytes_weights, 1e-3)
    assert figures["recipe"] == "tiny"
    assert figures["measured_on"] == "test"
    assert figures["budget_met"] is None
    assert stored.about.preprocessing is not None
    assert stored.about.preprocessing.scale == 200
    names = [stage["name"] for stage in figures["stages"]]
    assert (names[0], names[-1]) == ("original", "decoded file")


def test_compress_leaves_nothing_but_its_files(compressed: tuple[Path, dict[str, Any]]) -> None:
    path, _ = compressed
    assert not path.with_name(f"{path.name}.journal").exists()
    assert not list(path.parent.glob(".*"))
    assert path.with_name(f"{path.name}.html").stat().st_size > 1_000_000


def test_accuracy_after_is_what_eval_measures(
    run: Run, files: Files, compressed: tuple[Path, dict[str, Any]]
) -> None:
    path, figures = compressed
    code, out, _ = run("eval", path, "--data", files.data, "--json")
    assert code == 0
    assert last_json(out)["accuracy"] == figures["accuracy_after"]


def test_the_same_command_writes_the_same_bytes(
    run: Run, files: Files, compressed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    code, out, err = run(*compressing(files, tmp_path / "a.ret"))
    assert code == 0, err
    assert "accuracy on 60 test inputs" in out
    assert (tmp_path / "a.ret").read_bytes() == compressed[0].read_bytes()


def test_another_seed_writes_other_bytes(
    run: Run, files: Files, compressed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    assert run(*compressing(files, tmp_path / "a.ret", "--seed", 4))[0] == 0
    assert (tmp_path / "a.ret").read_bytes() != compressed[0].read_bytes()


@pytest.mark.parametrize("finished", [1, 3])
def test_an_interrupted_run_resumes_to_the_same_bytes(
    run: Run,
    files: Files,
    compressed: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    finished: int,
) -> None:
    from reticule.journal import Journal

    resumed = tmp_path / "resumed.ret"
    add = Journal.add

    def add_then_stop(self: Journal, number: int, *rest: Any) -> None:
        add(self, number, *rest)
        if number + 1 == finished:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", add_then_stop)
        code, _, err = run(*compressing(files, resumed))
    assert code == 130
    assert "--resume" in err
    assert not resumed.exists()
    assert resumed.with_name("resumed.ret.journal").is_dir()
    # what is finished is not done again
    applied: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(
            Journal, "add", lambda s, number, *rest: (applied.append(number), add(s, number, *rest))
        )
        code, _, err = run(*compressing(files, resumed, "--resume"))
    assert code == 0, err
    assert applied == list(range(finished, 4))
    assert resumed.read_bytes() == compressed[0].read_bytes()
    assert not resumed.with_name("resumed.ret.journal").exists()


def test_a_budget_that_is_not_met_is_exit_code_1(
    run: Run, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reticule.result import Result

    monkeypatch.setattr(Result, "drop_points", 2.5)
    output = tmp_path / "a.ret"
    code, out, _ = run(*compressing(files, output, "--max-drop", 1))
    assert code == 1
    assert output.exists()
    assert "budget not met: 2.50 points lost, at most 1 allowed" in out


def test_a_ret_file_can_be_compressed_again(
    run: Run, files: Files, compressed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    recipe = tmp_path / "share.yaml"
    recipe.write_text("name: nothing\nstages: [{method: fold-batch-norm}]\n", "utf-8")
    output = tmp_path / "again.ret"
    code, _, err = run("compress", compressed[0], "-o", output, "--recipe", recipe)
    assert code == 0, err
    once, twice = load(compressed[0]), load(output)
    assert twice.about.preprocessing == once.about.preprocessing
    for name, tensor in once.packed.network().tensors.items():
        assert np.array_equal(twice.packed.forms[name].dense(), tensor)


MODULES = """\
import torch

def with_example():
    return plain(), torch.zeros(1, 1, 6, 6)

def plain():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 3))
"""


@pytest.mark.parametrize("function", ["with_example", "plain"])
def test_a_python_function_is_a_model(
    run: Run, files: Files, tmp_path: Path, function: str
) -> None:
    (tmp_path / "models.py").write_text(MODULES, "utf-8")
    code, out, err = run(
        "eval", f"{tmp_path / 'models.py'}:{function}", "--data", files.data, "--json", "--anyway"
    )
    assert code == 0, err
    assert last_json(out)["n"] == 60


# eval, run, inspect ---------------------------------------------------------------------------


def test_eval_prints_the_contract(run: Run, files: Files) -> None:
    code, out, _ = run("eval", files.model, "--data", files.data, "--json")
    figures = last_json(out)
    assert code == 0
    assert set(figures) == {"accuracy", "n", "ms_per_image", "peak_rss_mib"}
    assert 0 <= figures["accuracy"] <= 100
    assert figures["n"] == 60


def test_eval_takes_preprocessing_from_the_file_unless_told(
    run: Run, files: Files, compressed: tuple[Path, dict[str, Any]]
) -> None:
    model, data = Model.load(compressed[0]), tiny_files.images()
    expected = model.predict_images(data["images"]).argmax(1) == data["labels"]
    stored = last_json(run("eval", compressed[0], "--data", files.data, "--json")[1])
    assert stored["accuracy"] == pytest.approx(100 * expected.mean())
    darker = model(data["images"].astype("f4") / 1000 - 7).argmax(1) == data["labels"]
    other = ("--scale", 1000, "--mean", 7, "--json")
    code, _, err = run("eval", compressed[0], "--data", files.data, *other)
    assert code == 2 and "no better than chance" in err and "--scale" in err
    told = run("eval", compressed[0], "--data", files.data, *other, "--anyway")
    assert last_json(told[1])["accuracy"] == pytest.approx(100 * darker.mean())


def test_run_shows_probabilities_of_the_stored_network(
    run: Run, compressed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    image = tiny_files.images()["images"][0]
    grey, colour = tmp_path / "grey.png", tmp_path / "colour.png"
    Image.fromarray(image[0]).save(grey)
    Image.fromarray(np.repeat(image[0][:, :, None], 3, 2)).save(colour)
    code, out, _ = run("run", compressed[0], grey, colour, "--top", 2, "--json")
    assert code == 0
    answers = last_json(out)["images"]
    logits = Model.load(compressed[0]).predict_images(image[None])[0].astype(float)
    powers = np.exp(logits - logits.max())
    for answer in answers:
        assert [entry["class"] for entry in answer["top"]] == np.argsort(-logits)[:2].tolist()
        assert answer["top"][0]["probability"] == pytest.approx(powers.max() / powers.sum(), 1e-5)
    code, out, _ = run("run", compressed[0], grey)
    assert code == 0
    assert len(out.splitlines()) == 1 + tiny_files.CLASSES  # no more than there are


def test_inspect_accounts_for_every_byte(run: Run, compressed: tuple[Path, dict[str, Any]]) -> None:
    code, out, _ = run("inspect", compressed[0], "--json")
    figures = last_json(out)
    assert code == 0
    assert {"layers", "bytes_file", "bytes_weights", "recipe"} <= set(figures)
    assert [layer["name"] for layer in figures["layers"]] == ["conv", "fc"]
    for layer in figures["layers"]:
        assert set(layer) == {"name", "op", "form", "shape", "density", "bits_per_weight", "bytes"}
        assert "codebook" in layer["form"]
    assert sum(layer["bytes"] for layer in figures["layers"]) == figures["bytes_weights"]
    assert figures["bytes_file"] == compressed[0].stat().st_size
    code, out, _ = run("inspect", compressed[0])
    assert code == 0
    assert "recipe:  tiny, seed 0" in out


def test_inspect_counts_four_bytes_for_a_weight_of_an_onnx_file(run: Run, files: Files) -> None:
    figures = last_json(run("inspect", files.model, "--json")[1])
    assert figures["bytes_weights"] == 4 * tiny_files.network().parameters
    assert {layer["form"] for layer in figures["layers"]} == {"dense"}
    assert {layer["bits_per_weight"] for layer in figures["layers"]} == {32}
    assert figures["recipe"] is None


# export ---------------------------------------------------------------------------------------


def test_exported_onnx_computes_the_same(
    run: Run, compressed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "out.onnx"
    code, out, _ = run("export", compressed[0], "-o", output)
    assert code == 0
    assert "checked: ONNX Runtime" in out
    inputs = np.random.default_rng(5).standard_normal((4, 1, 6, 6)).astype("f4")
    again = Model(reticule_packed(output))(inputs)
    assert np.allclose(again, Model.load(compressed[0])(inputs), atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]


def reticule_packed(path: Path) -> Any:
    from reticule.forms import Packed

    return Packed.of(reticule.from_onnx(path))


def test_exported_weights_are_the_decoded_ones(
    run: Run, compressed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    output = tmp_path / "out.safetensors"
    code, out, _ = run("export", compressed[0], "-o", output)
    assert code == 0
    assert "bit for bit" in out
    weights = load(compressed[0]).packed.network().tensors
    read = load_file(output)
    assert set(read) == set(weights)
    assert all(np.array_equal(read[name], weights[name]) for name in weights)


def test_without_onnx_runtime_the_file_is_read_again(
    run: Run,
    compressed: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, out, _ = run("export", compressed[0], "-o", tmp_path / "out.onnx")
    assert code == 0
    assert "onnxruntime is not installed" in out


def test_an_export_that_fails_its_check_leaves_no_file(
    run: Run,
    compressed: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from reticule.graph import onnx_out

    write = onnx_out.to_onnx

    def write_other_weights(network: Any, path: Path, **rest: Any) -> None:
        shifted = {name: tensor + np.float32(0.01) for name, tensor in network.tensors.items()}
        write(network.with_tensors(shifted), path, **rest)

    monkeypatch.setattr(onnx_out, "to_onnx", write_other_weights)
    code, _, err = run("export", compressed[0], "-o", tmp_path / "out.onnx")
    assert code == 3
    assert "failed the check" in err
    assert not list(tmp_path.iterdir())


# recipes, help, version, failures -------------------------------------------------------------


def test_recipes_can_be_listed_and_copied(run: Run, tmp_path: Path) -> None:
    found = last_json(run("recipes", "--json")[1])["recipes"]
    assert "deep-compression" in [recipe["name"] for recipe in found]
    assert all(recipe["summary"] and recipe["source"] for recipe in found)
    copy = tmp_path / "copy.yaml"
    copy.write_text(run("recipes", "deep-compression")[1], "utf-8")
    named, own = reticule_recipe("deep-compression"), reticule_recipe(copy)
    assert own == named


def reticule_recipe(name: object) -> Any:
    from reticule.recipes import load_recipe

    return load_recipe(name)  # type: ignore[arg-type]


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # an import of it fails
from reticule.cli import main
main(sys.argv[1:])
"""


def without_torch(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_commands_that_need_no_torch(
    files: Files, compressed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    image = tmp_path / "image.png"
    Image.fromarray(tiny_files.images()["images"][0, 0]).save(image)
    for arguments in (
        ("eval", compressed[0], "--data", files.data, "--json"),
        ("eval", files.model, "--data", files.data, "--scale", "255"),
        ("run", compressed[0], image),
        ("inspect", compressed[0]),
        ("export", compressed[0], "-o", tmp_path / "out.onnx"),
        ("recipes",),
    ):
        done = without_torch(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments


def test_compress_without_torch_names_the_extra(files: Files, tmp_path: Path) -> None:
    done = without_torch(*compressing(files, tmp_path / "a.ret"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'reticule[compress]'" in done.stderr


def test_version_and_help(run: Run) -> None:
    assert run("--version")[:2] == (0, f"reticule {reticule.__version__}\n")
    commands = ("demo", "compress", "eval", "run", "inspect", "export", "recipes")
    code, out, _ = run("--help")
    assert code == 0
    assert all(name in out for name in commands)
    for name in commands:
        assert run(name, "--help")[0] == 0


def test_a_bug_is_exit_code_3_and_says_where_to_report_it(
    run: Run, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reticule.cli import inspecting

    monkeypatch.setattr(inspecting, "layers_of", lambda *_: [][0])
    code, _, err = run("inspect", files.model)
    assert code == 3
    assert "issue tracker" in err.splitlines()[-1]
    assert "Traceback" in err


def test_an_interrupt_is_exit_code_130(
    run: Run, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reticule.cli import inspecting

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inspecting, "layers_of", interrupted)
    code, _, err = run("inspect", files.model)
    assert (code, err.strip()) == (130, "reticule: interrupted")


def test_a_reader_that_stops_reading_is_no_failure(files: Files) -> None:
    command = [sys.executable, "-m", "reticule", "inspect", files.model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_the_demonstration_in_brief(tmp_path: Path) -> None:
    from reticule.demo import run_demo

    demo = run_demo(tmp_path / "demo", scale=0.05)
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {
        "digits.ret",
        "digits.onnx",
        "report.html",
    }
    figures = demo.to_json()
    assert figures["bytes_file"] == (tmp_path / "demo" / "digits.ret").stat().st_size
    assert figures["accuracy_after"] == demo.after.accuracy
    assert figures["accuracy_before"] == demo.before.accuracy
    assert demo.memory_after < demo.memory_before
