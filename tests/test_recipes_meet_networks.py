"""Every recipe over networks of the gallery that were trained for a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from generated import detection, measures, sets
from generated.shapes import cover
from trained import Trained, trained

import reticule
from reticule.forms import Packed
from reticule.recipes import recipe_names

NETWORKS = ("two_convolutions", "mobilenet_v2", "resnext", "squeezenet")
RECIPES = [name for name in recipe_names() if name != "recode"]  # which needs a packed network
PAIRS = [
    (recipe, NETWORKS[(number + turn) % len(NETWORKS)])
    for number, recipe in enumerate(RECIPES)
    for turn in range(1 + (recipe in ("optimal-brain", "diversity")))
]


def answer(model: reticule.Model, given: Trained) -> np.ndarray:
    return np.asarray(model(given.unseen.images[:64].astype("f4") / 255))


@pytest.mark.parametrize(("recipe", "name"), PAIRS)
def test_the_decoded_file_answers(recipe: str, name: str, tmp_path: Path) -> None:
    given = trained(name)
    path = tmp_path / "network.ret"
    made = reticule.compress(
        given.network, train=given.data, recipe=recipe, minutes=0.005, output=path
    )
    wanted = answer(reticule.Model(Packed.of(given.network)), given)
    ours = answer(reticule.load(path), given)
    assert ours.shape == wanted.shape
    assert np.isfinite(ours).all()
    assert made.bytes_file == path.stat().st_size
    if recipe == "lossless":
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-6)


def test_training_for_a_moment_teaches_something() -> None:
    given = trained("two_convolutions")
    guesses = answer(reticule.Model(Packed.of(given.network)), given).argmax(1)
    assert len(np.unique(guesses)) > 1


def test_the_same_seed_draws_the_same_images() -> None:
    """And a larger set begins as a smaller one of whole chunks does."""
    for draw in (sets.classified, sets.measured, sets.present, sets.masked, sets.boxed):
        first, again, other = draw(20, 1), draw(20, 1), draw(20, 2)
        np.testing.assert_array_equal(first.images, again.images)
        np.testing.assert_array_equal(first.targets, again.targets)
        assert (first.images != other.images).any()


def test_a_disc_covers_its_area() -> None:
    rng = np.random.default_rng(0)
    discs = sets.Shapes.drawn_by_lot(rng, 50, np.zeros(50, np.int64), (0.3, 0.7))
    area = cover(discs, 64, 64).mean((1, 2)) * 4
    np.testing.assert_allclose(area, np.pi * discs.radii**2, rtol=0.02)


def cells_of(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a detector that knows everything would answer."""
    scores = np.full((len(boxes), sets.BOXED, detection.CELLS, detection.CELLS), -20.0, "f4")
    places = np.zeros((len(boxes), 4, detection.CELLS, detection.CELLS), "f4")
    for image, number in zip(*np.nonzero(boxes[..., 0] >= 0), strict=True):
        kind, left, top, right, bottom = boxes[image, number]
        x, y = (detection.CELLS * (a + b) / 2 for a, b in ((left, right), (top, bottom)))
        column, row = int(x), int(y)
        scores[image, int(kind), row, column] = 20
        places[image, :, row, column] = x - column, y - row, right - left, bottom - top
    return scores, places


def test_mean_average_precision_of_what_is_known() -> None:
    """All boxes right, all moved away, and half of the images without any answer."""
    wanted = sets.boxed(200, 5).targets
    scores, places = cells_of(wanted)
    assert detection.average_precision((scores, places), wanted) > 97  # two in one cell are lost
    away = places + np.array([3, 3, 0, 0], "f4")[:, None, None]
    assert detection.average_precision((scores, away), wanted) < 5
    scores[::2] = -20
    half = detection.average_precision((scores, places), wanted)
    assert half == pytest.approx(50, abs=8)


def test_error_and_signal_to_noise_of_a_known_difference() -> None:
    rng = np.random.default_rng(1)
    wanted = rng.standard_normal((1000, 5)).astype("f4")
    ours = wanted + 0.05 * wanted.std() * rng.choice([-1, 1], wanted.shape).astype("f4")
    assert measures.error_percent((ours,), (wanted,)) == pytest.approx(5, rel=1e-4)
    assert measures.signal_to_noise((ours,), (wanted,)) == pytest.approx(26, abs=0.1)
    assert np.isnan(measures.signal_to_noise((ours * np.nan,), (wanted,)))
