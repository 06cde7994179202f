"""The house keeps its floors, and running a file needs little.

docs/house.md explains the floors; here imports are read from the source, those inside
functions too.  Imports for type checkers only do not count.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from reticule.codec import About, save
from reticule.data import Data, Preprocessing
from reticule.engine import Model
from reticule.forms import Codebook, Dense, Packed, Sparse
from reticule.graph import Graph, Node

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "reticule"
MODULES = sorted(SOURCE.rglob("*.py"))
LONGEST = 400

# From the bottom up.  A module imports from its own package and from floors below.
FLOORS = (
    {"errors", "_native"},
    {"budget", "data", "files", "progress", "records", "tables"},
    {"graph"},
    {"forms"},
    {"codec", "exchange", "layers"},
    {"engine", "journal"},
    {"evaluation"},
    {"tuning"},
    {"science"},
    {"methods"},
    {"recipes"},
    {"result"},
    {"compression"},
    {"report"},
    {"__init__"},
    {"demo"},
    {"cli"},
    {"__main__"},
)
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}

# A method of a public class that hands itself to the floor above, when it is called.
UPWARD = {("result", "report")}

# Imported where they are used, and not installed with the base package.
OPTIONAL = {
    "torch", "onnx", "onnxruntime", "scipy", "sklearn", "pywt", "pyarrow", "safetensors",
    "jinja2", "plotly", "networkx", "sknetwork",
}  # fmt: skip
TORCH_AT_THE_TOP = {"tuning", "methods"}
TORCH_IN_FUNCTIONS = {"graph", "compression", "cli", "demo"}


def part_of(path: Path) -> str:
    """The package or module directly under reticule: what the floors are made of."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(tree: ast.AST, top_only: bool = False) -> Iterator[tuple[str, int]]:
    """Names of imported modules with their lines, without those for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if top_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [alias.name for alias in node.names] if node.module == "reticule" else [""]
            yield from ((f"{node.module}.{name}".rstrip("."), node.lineno) for name in names)
        else:
            yield from imports(node, top_only)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def short(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_every_part_of_the_package_has_its_floor():
    assert {part_of(path) for path in MODULES} | {"_native"} == set(FLOOR)


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_nothing_imports_upward(path):
    own = part_of(path)
    for name, line in imports(tree_of(path)):
        package, _, rest = name.partition(".")
        if package != "reticule":
            continue
        other = rest.partition(".")[0] or "__init__"
        allowed = other == own or FLOOR[other] < FLOOR[own] or (own, other) in UPWARD
        assert allowed, f"{short(path)}:{line} imports {name}, which is not on a floor below"


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_optional_packages_are_imported_where_they_are_used(path):
    own, tree = part_of(path), tree_of(path)
    at_the_top = {name.partition(".")[0] for name, _ in imports(tree, top_only=True)}
    anywhere = {name.partition(".")[0] for name, _ in imports(tree)}
    assert at_the_top & OPTIONAL <= ({"torch"} if own in TORCH_AT_THE_TOP else set())
    if "torch" in anywhere:
        assert own in TORCH_AT_THE_TOP | TORCH_IN_FUNCTIONS
    if own in ("codec", "engine", "exchange", "forms"):
        assert not anywhere & OPTIONAL


def test_the_base_install_brings_what_is_imported_at_the_top():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = {re.split(r"[^A-Za-z0-9_-]", entry)[0] for entry in project["dependencies"]}
    brought = {{"pillow": "PIL", "pyyaml": "yaml"}.get(name, name) for name in named}
    used = {
        name.partition(".")[0]
        for path in MODULES
        if part_of(path) not in TORCH_AT_THE_TOP
        for name, _ in imports(tree_of(path), top_only=True)
    }
    assert used - set(sys.stdlib_module_names) - {"reticule"} <= brought


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_no_module_is_too_long(path):
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST


# In a process that has the base install only --------------------------------------------------

HIDING = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)
sys.meta_path.insert(0, Hidden())
"""


def in_base_install(code: str, *arguments: str) -> str:
    """What a program prints in a process in which optional packages cannot be imported."""
    program = HIDING.format(hidden=OPTIONAL) + code
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def command(*arguments: object) -> dict:
    """The JSON of a command that ran in such a process."""
    code = "from reticule.cli import main; main(sys.argv[1:])"
    printed = in_base_install(code, *map(str, arguments), "--json")
    return json.loads(printed.splitlines()[-1])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with a network in all forms, and images labelled by its own answers."""
    folder = tmp_path_factory.mktemp("base")
    rng = np.random.default_rng(0)
    kernels = rng.standard_normal((6, 3, 3, 3)).astype("f4")
    table = Dense(np.linspace(-1, 1, 4, dtype="f2"))
    kept = rng.random((11, 6)) < 0.5
    codes = rng.integers(0, 4, int(kept.sum()), dtype=np.uint8)
    forms = {
        "conv.weight": Codebook(rng.integers(0, 4, kernels.shape, dtype=np.uint8), table),
        "conv.bias": Dense(rng.standard_normal(6).astype("f2")),
        "fc.weight": Sparse.at(kept, Codebook(codes, table)),
    }
    nodes = (
        Node("Conv", "conv", ("input", "conv.weight", "conv.bias"), ("h",)),
        Node("Relu", "relu", ("h",), ("r",)),
        Node("GlobalAveragePool", "pool", ("r",), ("p",)),
        Node("Flatten", "flat", ("p",), ("f",)),
        Node("Gemm", "fc", ("f", "fc.weight"), ("logits",)),
    )
    shapes = {name: form.shape for name, form in forms.items()}
    packed = Packed(Graph({"input": (3, 8, 8)}, ("logits",), nodes, shapes), forms)
    about = About(Preprocessing(255.0, (0.5,), (0.25,)), tuple("abcdefghijk"))
    save(folder / "small.ret", packed, about)
    images = rng.integers(0, 256, (24, 3, 8, 8), dtype=np.uint8)
    logits = Model(packed, about).predict_images(images)
    Data((images, logits.argmax(axis=1))).save_npz(folder / "images.npz")
    from PIL import Image

    Image.fromarray(images[0].transpose(1, 2, 0)).save(folder / "image.png")
    return folder


def test_importing_has_no_side_effects():
    code = "import reticule; print(sorted(n for n in sys.modules if n.startswith('reticule')))"
    assert in_base_install(code).strip() == "['reticule']"


def test_a_file_runs_without_the_optional_packages(small):
    code = (
        "import numpy as np, reticule\n"
        "model = reticule.load(sys.argv[1])\n"
        "print(model(np.zeros((2, 3, 8, 8), np.float32)).shape)\n"
        f"print(sorted({OPTIONAL!r} & set(sys.modules)))"
    )
    assert in_base_install(code, str(small / "small.ret")).split("\n")[:2] == ["(2, 11)", "[]"]


def test_eval_in_a_base_install(small):
    figures = command("eval", small / "small.ret", "--data", small / "images.npz")
    assert (figures["accuracy"], figures["n"]) == (100.0, 24)


def test_run_in_a_base_install(small):
    best = command("run", small / "small.ret", small / "image.png", "--top", "1")
    label = int(Data(small / "images.npz").labels[0])
    assert best["images"][0]["top"][0]["class"] == label


def test_inspect_in_a_base_install(small):
    figures = command("inspect", small / "small.ret")
    assert sum(layer["bytes"] for layer in figures["layers"]) == figures["bytes_weights"]


def test_recipes_are_listed_in_a_base_install():
    assert command("recipes")["recipes"]


def test_compressing_in_a_base_install_names_the_extra(small):
    code = (
        "from reticule.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: print(end.code)"
    )
    out = str(small / "again.ret")
    assert in_base_install(code, "compress", str(small / "small.ret"), "-o", out).strip() == "2"
    assert not Path(out).exists()
