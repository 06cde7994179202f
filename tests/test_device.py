"""Training on a GPU: what travels there, and every recipe on one where there is one."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from codec_samples import SAMPLES  # noqa: E402
from test_tuning import small_problem  # noqa: E402

from reticule.compression import compress  # noqa: E402
from reticule.errors import RecipeError  # noqa: E402
from reticule.forms import Form  # noqa: E402
from reticule.recipes import recipe_names  # noqa: E402
from reticule.tuning.device import CPU, device_of, on_device, tensors_of  # noqa: E402
from reticule.tuning.twins import twin_of  # noqa: E402

FORMS = {
    f"{sample}-{name}": form
    for sample, make in SAMPLES.items()
    for name, form in make().forms.items()
}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU here")


@pytest.mark.parametrize("name", FORMS)
def test_nothing_that_a_twin_trains_stays_behind(name: str) -> None:
    twin = twin_of(FORMS[name])
    found = {id(tensor) for tensor in tensors_of(twin)}
    assert {id(parameter) for parameter in twin.parameters()} <= found


def test_unknown_devices_are_refused_by_name() -> None:
    assert device_of("cpu") == CPU
    with pytest.raises(RecipeError, match="no device 'tpu'; use one of auto, cpu, cuda"):
        device_of("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_an_error_and_auto_goes_without() -> None:
    assert device_of("auto") == CPU
    with pytest.raises(RecipeError, match="sees no GPU"):
        device_of("cuda")


@needs_gpu
@pytest.mark.parametrize("name", FORMS)
def test_twins_give_the_same_weights_on_a_gpu_and_come_back(name: str) -> None:
    twin = twin_of(FORMS[name])
    here = twin.tensor().detach().clone()
    with on_device(torch.device("cuda"), twin):
        there = twin.tensor()
        assert there.device.type == "cuda"
        assert torch.allclose(there.detach().cpu(), here, atol=1e-6)
    assert twin.tensor().device == CPU
    assert isinstance(twin.form(), Form)


@needs_gpu
@pytest.mark.parametrize("recipe", recipe_names())
def test_recipes_on_a_gpu(recipe: str) -> None:
    problem = small_problem(80)
    result = compress(
        problem.original,
        train=problem.train,
        test=problem.held_out,
        recipe=recipe,
        minutes=0.05,
        device="cuda",
    )
    assert np.isfinite(result.accuracy_after or np.nan)
