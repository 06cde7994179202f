"""The documentation is true: its examples run, its tables are complete, its links lead somewhere.

In README.md and docs/, code blocks in Python are executed, and so are the lines of bash blocks
that begin with ``reticule``, from top to bottom of each page and in one folder for each page.
The folder holds a small network and images under the names that the examples use.  A block
whose first line is ``# name.py`` or ``# name.yaml`` becomes that file.
"""

from __future__ import annotations

import ast
import dataclasses
import io
import os
import re
import shlex
from pathlib import Path

import net_files
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import typer
from PIL import Image

from reticule import errors
from reticule.cli import main
from reticule.cli.app import app
from reticule.codec import About, save
from reticule.data import Preprocessing
from reticule.engine import Model
from reticule.forms import Packed
from reticule.graph import Graph, Network, Node
from reticule.graph.onnx_out import to_onnx
from reticule.methods import METHODS
from reticule.recipes import load_recipe, recipe_names
from reticule.tuning.problem import MOST_EPOCHS
from reticule.tuning.train import Training

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PREPARE = Preprocessing(255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def text_of(path: Path) -> str:
    return path.read_text("utf-8")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> list[tuple[str, str]]:
    """(language, code) of a page's fenced blocks."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text_of(path), re.M | re.S)


def without_blocks(path: Path) -> str:
    return re.sub(r"^```.*?^```$", "", text_of(path), flags=re.M | re.S)


# Examples -------------------------------------------------------------------------------------


def small_network() -> Network:
    """Two layers for colour images of 32x32, ten classes."""
    rng = np.random.default_rng(0)
    tensors = {
        "conv.weight": rng.standard_normal((8, 3, 5, 5)).astype("f4") / 8,
        "conv.bias": np.zeros(8, "f4"),
        "fc.weight": rng.standard_normal((10, 8 * 16)).astype("f4") / 8,
        "fc.bias": np.zeros(10, "f4"),
    }
    nodes = (
        Node("Conv", "conv", ("input", "conv.weight", "conv.bias"), ("h",),
             {"strides": (4, 4), "pads": (2, 2, 2, 2)}),
        Node("Relu", "relu", ("h",), ("r",)),
        Node("MaxPool", "pool", ("r",), ("p",), {"kernel_shape": (2, 2), "strides": (2, 2)}),
        Node("Flatten", "flatten", ("p",), ("f",)),
        Node("Gemm", "fc", ("f", "fc.weight", "fc.bias"), ("logits",)),
    )  # fmt: skip
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return Network(Graph({"input": (3, 32, 32)}, ("logits",), nodes, shapes), tensors)


def encoded(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, "png")
    return file.getvalue()


@pytest.fixture(scope="module")
def materials(tmp_path_factory):
    """The files that examples name: a network, and images labelled by its own answers."""
    folder = tmp_path_factory.mktemp("examples")
    network = small_network()
    to_onnx(network, folder / "resnet20.onnx")
    about = About(PREPARE, tuple("abcdefghij"))
    packed = Packed.of(network)
    save(folder / "resnet20.ret", packed, about)
    rng = np.random.default_rng(1)
    for name, count in (("train", 300), ("test", 40)):
        images = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        labels = Model(packed, about).predict_images(images).argmax(axis=1)
        column = [{"bytes": encoded(image), "path": None} for image in images]
        table = pyarrow.table({"image": column, "label": labels})
        pyarrow.parquet.write_table(table, folder / f"{name}.parquet")
    (folder / "cat.png").write_bytes(encoded(images[0]))
    to_onnx(network, folder / "model.onnx")
    np.savez(folder / "inputs.npz", images=images)  # without labels
    table, output = net_files.squeezenet(part=8)
    to_onnx(table.network(output), folder / "squeezenet.onnx")
    (folder / "squeezenet.net").write_bytes(net_files.net_bytes(net_files.records(table)))
    return folder


@pytest.fixture
def workplace(materials, tmp_path, monkeypatch):
    """A copy of the materials as the current folder; registered methods are restored."""
    for file in materials.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    before = dict(METHODS)
    yield tmp_path
    METHODS.clear()
    METHODS.update(before)


def run_command(line: str, where: str) -> None:
    arguments = shlex.split(line, comments=True)[1:]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    # The images are noise, so that a budget need not be met.
    fine = {0, 1} if {"--max-drop", "--max-error"} & set(arguments) else {0}
    assert end.value.code in fine, f"{where}: {line}"


def run_python(code: str, where: str) -> None:
    exec(compile(code, where, "exec", dont_inherit=True), {"__name__": "__main__"})


def commands(block: str) -> list[str]:
    """The lines for ``reticule``, but for the demo, which takes a minute."""
    lines = block.replace("\\\n", " ").splitlines()
    return [line for line in lines if re.match(r"reticule (?!demo)", line)]


EXAMPLES = [
    path for path in PAGES if any(kind == "python" or commands(code) for kind, code in blocks(path))
]


@pytest.mark.parametrize("path", EXAMPLES, ids=named)
def test_the_examples_run(path, workplace, capsys):
    for number, (kind, code) in enumerate(blocks(path), 1):
        where = f"{named(path)}, block {number}"
        title = re.match(r"# ([\w-]+\.(?:py|yaml))\n", code)
        if title:
            (workplace / title[1]).write_text(code, "utf-8")
        elif kind == "python":
            run_python(code, where)
        elif kind == "bash":
            for line in commands(code):
                run_command(line, where)
    assert "Traceback" not in capsys.readouterr().err


def test_the_commands_in_the_table_of_the_readme_run(workplace):
    lines = re.findall(r"\| `(reticule .*?)`", text_of(ROOT / "README.md"))
    assert len(lines) >= 6
    for line in lines:
        run_command(line + (" --json" if "export" not in line else ""), "README.md")


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_recipes_in_the_documentation_are_valid(path, tmp_path):
    for kind, code in blocks(path):
        if kind == "yaml" and "stages:" in code:
            (tmp_path / "recipe.yaml").write_text(code, "utf-8")
            load_recipe(tmp_path / "recipe.yaml")


def test_the_two_commands_of_the_readme_stand_alone():
    lines = [line for _, code in blocks(ROOT / "README.md") for line in code.splitlines()]
    for end, extra in (("reticule demo", "all"), ("-m pytest", "dev")):
        (line,) = (line for line in lines if line.endswith(end))
        assert f"-c constraints.txt '.[{extra}]'" in line
        assert line.startswith("python3 -m venv .venv && ")


# Completeness ---------------------------------------------------------------------------------


def rows(path: Path) -> dict[str, str]:
    """Rows of a page's tables by each name in their first column."""
    found = {}
    for line in without_blocks(path).splitlines():
        if line.startswith("| "):
            first = line.split("|")[1]
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", first), line)
    return found


def own_methods() -> list[str]:
    """Names of the methods in the package's source; examples elsewhere register more."""
    names = []
    for path in (ROOT / "src/reticule/methods").rglob("*.py"):
        for node in ast.parse(text_of(path)).body:
            for mark in getattr(node, "decorator_list", ()):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "method":
                    names.append(ast.literal_eval(mark.args[0]))
    return sorted(names)


def check_settings(cls: type, table: dict[str, str], where: str) -> None:
    """Every field has a row, with its default where that is a plain value."""
    for field in dataclasses.fields(cls):
        assert field.name in table, f"{where} does not explain '{field.name}'"
        if isinstance(field.default, int | float | str) and field.default != "":
            shown = str(field.default)
            assert shown in table[field.name], f"{where}: default of '{field.name}' is {shown}"


@pytest.mark.parametrize("name", own_methods())
def test_every_method_has_its_page(name):
    path = DOCS / "methods" / f"{name}.md"
    assert path.is_file(), f"method '{name}' has no page {named(path)}"
    text = text_of(path)
    for title in ("What it does", "Parameters", "What it costs", "Pitfalls", "Source"):
        assert f"\n## {title}\n" in text, f"{named(path)} has no section '{title}'"
    assert re.match(rf"# {name}\n\n\*\*In short:\*\* ", text)
    check_settings(METHODS[name], rows(path), named(path))
    assert f"({name}.md)" in text_of(DOCS / "methods/index.md")


def test_every_setting_of_the_training_is_explained():
    page = DOCS / "methods/retrain.md"
    check_settings(Training, rows(page), named(page))
    assert f"can afford: {MOST_EPOCHS:g} (more" in " ".join(text_of(page).split())


def test_every_recipe_is_listed():
    assert set(recipe_names()) <= set(rows(DOCS / "recipes.md"))


def test_the_stages_of_recipes_are_those_of_their_page():
    sections = without_blocks(DOCS / "recipes.md").split("## ")
    told = [section for section in sections if section.startswith("What `")]
    assert told
    for section in told:
        listed = re.findall(r"^\| \[`([\w-]+)`\]", section, re.M)
        name = section.split("`")[1]
        assert listed == [stage.name for stage in load_recipe(name).stages], name


def test_every_command_and_option_is_explained():
    page = text_of(DOCS / "cli.md")
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        assert name in text_of(DOCS / "cli.md").partition("## Options")[0]
        for parameter in command.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                if option.startswith("-") and option != "--help":
                    assert f"`{option}" in page, f"docs/cli.md: {name} {option}"


def test_every_error_and_every_fault_is_explained():
    table = rows(DOCS / "errors.md")
    for name, thing in vars(errors).items():
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert name in table, f"docs/errors.md does not explain {name}"
    for fault in errors.Fault:
        assert f"| {fault.value} |" in table.get(fault.name, ""), f"docs/errors.md: {fault.name}"
        assert f"`{fault.name}`" in text_of(DOCS / "format.md")


def test_the_house_has_every_part_of_the_package():
    floors = rows(DOCS / "house.md")
    for path in (ROOT / "src/reticule").iterdir():
        if path.name.startswith("_") and path.name != "__init__.py":
            continue
        if path.is_dir():
            assert f"{path.name}/" in floors
        elif path.suffix == ".py":
            assert path.name in floors


# Links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LINKED, ids=named)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(path)):
        if not target.startswith(("http://", "https://")):
            file = (path.parent / target.partition("#")[0]).resolve()
            assert file.is_file(), f"{named(path)} links to {target}"


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=named)
def test_every_page_can_be_found(path):
    """Some table of contents names it: an index page in its folder or above."""
    if path == DOCS / "index.md":
        return
    indexes = [DOCS / "index.md", DOCS / "methods/index.md"]
    listed = {
        os.path.normpath(index.parent / entry)
        for index in indexes
        for entry in re.findall(r"^([\w/-]+)$", text_of(index), re.M)
    }
    assert str(path.with_suffix("")) in listed


def test_choices_begin_with_a_recommendation():
    for path in (*DOCS.glob("*.md"), *DOCS.glob("methods/*.md")):
        if path.name not in ("format.md", "concepts.md", "index.md") or path.parent != DOCS:
            assert "**In short:** " in text_of(path).split("\n\n", 2)[1], named(path)
