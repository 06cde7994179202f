"""Networks that are no classifiers, inputs without labels, stages that destroy: end to end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402

from reticule import compress, from_torch, load  # noqa: E402
from reticule.cli import main  # noqa: E402
from reticule.data import Data  # noqa: E402
from reticule.engine import Model  # noqa: E402
from reticule.errors import RecipeError  # noqa: E402
from reticule.forms import Dense, Packed  # noqa: E402
from reticule.graph import Network  # noqa: E402
from reticule.graph.onnx_out import to_onnx  # noqa: E402
from reticule.methods import METHODS, Context, Outcome, method  # noqa: E402
from reticule.recipes import Recipe, Stage, load_recipe  # noqa: E402

SIDE = 12


def blobs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Discs (count, 1, side, side) uint8 of a radius (count,) that a network can learn to tell."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    radius = rng.uniform(1.5, 4.5, count)
    centre = rng.uniform(4, 8, (count, 2, 1, 1))
    away = np.hypot(y - centre[:, 0], x - centre[:, 1])
    light = np.clip(radius[:, None, None] - away + 0.5, 0, 1) * 200
    pixels = np.clip(light + rng.normal(20, 8, light.shape), 0, 255).astype(np.uint8)
    return pixels[:, None], ((radius - 3) / 0.87).astype(np.float32)


@pytest.fixture(scope="module")
def regressor() -> Network:
    """A network that tells the radius, trained briefly."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(108, 1),
    )  # fmt: skip
    pixels, target = blobs(600, 0)
    x, y = torch.from_numpy(pixels / 255.0).float(), torch.from_numpy(target)[:, None]
    optimiser = torch.optim.Adam(module.parameters(), 0.01)
    for step in range(150):
        part = slice(step % 6 * 100, step % 6 * 100 + 100)
        optimiser.zero_grad()
        (module(x[part]) - y[part]).square().mean().backward()
        optimiser.step()
    return from_torch(module.eval(), x[:2])


@pytest.fixture(scope="module")
def unlabelled() -> Data:
    return Data((blobs(80, 1)[0], None))


def rmse(model: Model, pixels: np.ndarray, target: np.ndarray) -> float:
    found = np.asarray(model(pixels.astype("f4") / 255))[:, 0]
    return float(np.sqrt(np.mean((found - target) ** 2)))


def test_a_regressor_stays_one_within_the_error_that_is_allowed(
    regressor: Network, unlabelled: Data, tmp_path: Path
) -> None:
    pixels, target = blobs(300, 2)
    result = compress(
        regressor, train=unlabelled, test=Data((pixels, None)), recipe="post-training",
        max_error=5.0, output=tmp_path / "small.ret",
    )  # fmt: skip
    assert result.budget_met and result.error_percent is not None
    assert result.error_percent <= 5.5 and result.ratio > 4
    assert result.accuracy_after is None and result.fidelity_on == "test"
    before = rmse(Model(Packed.of(regressor)), pixels, target)
    assert before < 0.3 and rmse(load(tmp_path / "small.ret"), pixels, target) < 1.1 * before + 0.01
    (stored,) = load(tmp_path / "small.ret").about.fidelity
    assert stored["error_percent"] == pytest.approx(result.error_percent, rel=1e-3)


def test_a_class_for_each_image_makes_a_regressor_no_classifier(regressor: Network) -> None:
    pixels, _ = blobs(40, 1)
    with pytest.raises(RecipeError, match="max_error"):
        compress(
            regressor,
            train=Data((pixels, np.zeros(40, int))),
            recipe="post-training",
            max_drop=1.0,
        )
    with pytest.raises(RecipeError, match="no labels"):
        compress(classifier(), train=Data((pixels, None)), recipe="post-training", max_drop=1.0)


def test_retraining_without_labels_learns_from_the_original(
    regressor: Network, unlabelled: Data, tmp_path: Path
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: r\nstages:\n- method: fold-batch-norm\n"
        "- {method: threshold-pruning, density: 0.3, smallest: 30}\n"
        "- {method: retrain, training: {epochs: 40, batch: 24, learning_rate: 0.003}}\n"
    )
    result = compress(regressor, train=unlabelled, recipe=path)
    errors = {stage.name: stage.error_percent for stage in result.stages}
    assert errors["retrain"] < 0.6 * errors["threshold-pruning"]  # type: ignore[operator]


def classifier() -> Network:
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3), nn.Conv2d(6, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 5),
    )  # fmt: skip
    return from_torch(module.eval(), torch.randn(2, 1, SIDE, SIDE))


class TwoInputs(nn.Module):
    """An image and a few numbers beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.take = nn.Conv2d(1, 6, 3), nn.Linear(3, 10)
        self.mix, self.out = nn.Linear(16, 12), nn.Linear(12, 2)

    def forward(self, image: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        seen = torch.relu(self.look(image)).mean((2, 3))
        both = torch.cat([seen, torch.relu(self.take(numbers))], 1)
        return self.out(torch.relu(self.mix(both)))


def two_inputs() -> Network:
    torch.manual_seed(2)
    return from_torch(TwoInputs().eval(), (torch.randn(2, 1, SIDE, SIDE), torch.randn(2, 3)))


def flat_folder(folder: Path) -> Path:
    for number, image in enumerate(blobs(30, 3)[0]):
        Image.fromarray(image[0]).save(folder / f"{number}.png")
    return folder


def image_for_each_class(folder: Path) -> Path:
    for number, image in enumerate(blobs(5, 3)[0]):
        (folder / f"class{number}").mkdir()
        Image.fromarray(image[0]).save(folder / f"class{number}" / "one.png")
    return folder


def archive(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    names = list(two_inputs().graph.inputs)
    arrays = (rng.normal(size=(32, 1, SIDE, SIDE)), rng.normal(size=(32, 3)))
    np.savez(folder / "inputs.npz", **dict(zip(names, arrays, strict=True)))
    return folder / "inputs.npz"


@pytest.mark.parametrize("recipe", ["post-training", "optimal-brain", "diversity"])
@pytest.mark.parametrize(
    ("network", "write"),
    [(classifier, flat_folder), (classifier, image_for_each_class), (two_inputs, archive)],
    ids=["flat folder", "one image a class", "two inputs"],
)
def test_inputs_in_any_shape_serve_methods_without_labels(
    recipe: str, network: Callable[[], Network], write: Callable[[Path], Path], tmp_path: Path
) -> None:
    chosen = load_recipe(recipe)
    if recipe == "diversity":  # a brief retraining
        stages = [s for s in chosen.stages if s.name != "retrain"]
        chosen = replace(chosen, stages=tuple(stages))
    result = compress(network(), train=Data(write(tmp_path)), recipe=chosen, anyway=True)
    assert np.isfinite(result.error_percent or np.nan)
    assert all(np.isfinite(form.dense()).all() for form in result.packed.forms.values())


# Stages that destroy --------------------------------------------------------------------------


@pytest.fixture
def destroy() -> Iterator[type]:
    """A method that destroys a network in the way that its parameter says."""

    @method("destroy")
    @dataclass(frozen=True)
    class Destroy:
        how: str = "zeros"

        needs_data: ClassVar[bool] = False
        trains: ClassVar[bool] = False
        settles: ClassVar[bool] = False

        def apply(self, packed: Packed, context: Context) -> Outcome:
            name = next(name for _, name in packed.graph.weights())
            old = packed.forms[name].dense()
            rng = np.random.default_rng(0)
            new = {
                "zeros": np.zeros_like(old),
                "infinite": np.full_like(old, 3e38),
                "noise": (50 * old.std() * rng.normal(size=old.shape)).astype("f4"),
                "nothing": old,
            }[self.how]
            return Outcome(packed.with_forms({name: Dense(new)}))

    yield Destroy
    del METHODS["destroy"]


@pytest.mark.parametrize("how", ["zeros", "infinite", "noise"])
def test_a_stage_that_destroys_the_network_is_undone_and_named(
    destroy: type, how: str, unlabelled: Data, regressor: Network
) -> None:
    halves = load_recipe("post-training").stages[-1]
    stages = (Stage("destroy", {"how": how}, destroy(how)), halves)
    recipe = Recipe("toy", "", "", "", stages)
    for data in (unlabelled, None):  # on generated inputs too
        result = compress(regressor, val=data, recipe=recipe)
        assert list(result.undone) == ["destroy"] and result.undone["destroy"]
        assert result.error_percent is not None and result.error_percent < 1
        assert result.to_json()["undone"] == result.undone
    harmless = Recipe("toy", "", "", "", (Stage("destroy", {}, destroy("nothing")), halves))
    assert not compress(regressor, recipe=harmless).undone


def test_the_ceiling_is_the_recipe_s(destroy: type, regressor: Network, unlabelled: Data) -> None:
    stage = Stage("destroy", {"how": "noise"}, destroy("noise"))
    bold = Recipe("toy", "", "", "", (stage,), ceiling=1e9)
    assert not compress(regressor, val=unlabelled, recipe=bold).undone
    assert bold.to_json()["ceiling"] == 1e9


def test_training_may_build_anew_what_a_stage_destroyed(
    destroy: type, regressor: Network, unlabelled: Data
) -> None:
    from reticule.methods import Retrain
    from reticule.tuning.train import Training

    retrain = Retrain(training=Training(epochs=1, batch=16))
    fold = load_recipe("post-training").stages[0]
    stages = (fold, Stage("destroy", {}, destroy("noise")), Stage("retrain", {}, retrain))
    assert not compress(regressor, train=unlabelled, recipe=Recipe("t", "", "", "", stages)).undone


def test_the_command_ends_with_1_and_names_the_stage(
    destroy: type, regressor: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to_onnx(regressor, tmp_path / "m.onnx")
    (tmp_path / "r.yaml").write_text("name: r\nstages:\n- {method: destroy, how: zeros}\n")
    arguments = ["compress", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "m.ret")]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--recipe", str(tmp_path / "r.yaml")])
    assert ended.value.code == 1
    assert "'destroy' was undone" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["eval", str(tmp_path / "m.ret"), "--against", str(tmp_path / "m.onnx"), "--json"])
    printed = capsys.readouterr()
    found = json.loads(printed.out.splitlines()[-1])
    assert ended.value.code == 0 and found["error_percent"] == 0 and "generated" in printed.err


def test_a_budget_is_against_the_network_that_was_given(
    regressor: Network, unlabelled: Data, tmp_path: Path
) -> None:
    """Two stages may not each spend all of it."""
    path = tmp_path / "twice.yaml"
    stage = "- {method: trellis-quantisation, skip: ['%s']}\n"
    first, *_, last = [name for _, name in regressor.graph.weights()]
    path.write_text(f"name: twice\nstages:\n{stage % last}{stage % first}")
    result = compress(regressor, train=unlabelled, recipe=path, max_error=6.0)
    assert result.stages[-1].error_percent is not None
    assert result.stages[-1].error_percent <= 6.6
