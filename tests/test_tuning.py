"""Tuning: the torch executor, twins, augmentation, moments, the training loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gallery import GALLERY  # noqa: E402

from reticule.codec import About, dumps, loads  # noqa: E402
from reticule.data import Data  # noqa: E402
from reticule.engine import Model  # noqa: E402
from reticule.errors import ReticuleError  # noqa: E402
from reticule.forms import Codebook, Dense, Packed, Sparse  # noqa: E402
from reticule.graph import Graph, Node  # noqa: E402
from reticule.graph.fold import fold_batch_norm  # noqa: E402
from reticule.graph.operators import OPERATORS  # noqa: E402
from reticule.graph.torch_in import from_torch  # noqa: E402
from reticule.methods.prune.twins import MaskedTwin  # noqa: E402
from reticule.progress import Silent  # noqa: E402
from reticule.tuning.augment import Augmentation, detect  # noqa: E402
from reticule.tuning.executor import EXECUTORS, execute  # noqa: E402
from reticule.tuning.likelihood import logits  # noqa: E402
from reticule.tuning.moments import match_moments  # noqa: E402
from reticule.tuning.problem import Problem, constant_tensors  # noqa: E402
from reticule.tuning.train import TIMED_STEPS, Group, Training, train  # noqa: E402
from reticule.tuning.twins import twin_of, twins_of  # noqa: E402


def outputs_of(answer: object) -> list[np.ndarray]:
    """A module's answer, whatever its structure, as a list of arrays."""
    if isinstance(answer, torch.Tensor):
        return [answer.numpy()]
    if answer is None:
        return []
    parts = answer.values() if isinstance(answer, dict) else answer
    return [array for part in parts for array in outputs_of(part)]


def close(got: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> bool:
    return bool(np.abs(got - expected).max() <= tolerance * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("name", GALLERY)
def test_gallery_through_the_file_and_the_executor(name: str) -> None:
    """from_torch -> save -> load -> run, and the executor, give what PyTorch gives."""
    module, example = GALLERY[name]()
    with torch.no_grad():
        expected = outputs_of(module.eval()(example))
    network = from_torch(module, example)
    decoded = loads(dumps(Packed.of(network), About())).packed
    answer = Model(decoded)(example.numpy())
    ran = answer if isinstance(answer, tuple) else (answer,)
    with torch.no_grad():
        executed = execute(network.graph, constant_tensors(network), example)
    assert len(ran) == len(executed) == len(expected)
    for got, also, goal in zip(ran, executed, expected, strict=True):
        assert got.shape == tuple(also.shape) == goal.shape
        assert close(got, goal)
        assert close(also.numpy(), goal)


@pytest.mark.parametrize("name", GALLERY)
def test_folding_changes_no_answer(name: str) -> None:
    module, example = GALLERY[name]()
    network = from_torch(module, example)
    folded = fold_batch_norm(network)
    before, after = Model(Packed.of(network)), Model(Packed.of(folded))
    one, two = before(example.numpy()), after(example.numpy())
    pairs = zip(one, two, strict=True) if isinstance(one, tuple) else [(one, two)]
    assert all(close(b, a) for a, b in pairs)


def test_every_operator_has_an_executor() -> None:
    assert set(EXECUTORS) == set(OPERATORS)


def sample_forms() -> list[Dense | Codebook | Sparse]:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(6, 3, 3, 3)).astype("f4")
    mask = rng.random(weights.shape) < 0.4
    table = Dense(np.linspace(-1, 1, 5).astype("f2"))
    codes = rng.integers(0, 5, weights.shape)
    return [
        Dense(weights),
        Dense(weights.astype("f2")),
        Codebook(codes, table),
        Sparse.keep(weights, mask),
        Sparse.at(mask, Codebook(codes[mask], table)),
        Sparse.at(np.zeros((2, 3), bool), Dense(np.zeros(0, "f4"))),
    ]


@pytest.mark.parametrize("form", sample_forms(), ids=lambda form: form.name)
def test_twins_restore_their_form(form: Dense | Codebook | Sparse) -> None:
    twin = twin_of(form)
    assert np.array_equal(twin.tensor().detach().numpy(), form.dense())
    assert np.array_equal(twin.form().dense(), form.dense())
    assert twin.form().name == form.name


@pytest.mark.parametrize("form", sample_forms()[:5], ids=lambda form: form.name)
def test_a_gradient_step_stays_in_the_form(form: Dense | Codebook | Sparse) -> None:
    """Zeros stay zero and shared weights stay equal; what is free does move."""
    twin = twin_of(form)
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.1)
    goal = torch.ones(form.shape)
    (twin.tensor() - goal).square().sum().backward()
    optimiser.step()
    moved = twin.form()
    assert type(moved) is type(form)
    assert not np.array_equal(moved.dense(), form.dense())
    if isinstance(form, Sparse):
        assert np.array_equal(moved.mask(), form.mask())
        assert (moved.dense()[~form.mask()] == 0).all()
    if isinstance(form, Codebook):
        assert np.array_equal(moved.indices, form.indices)


def test_centroid_gradient_is_the_sum_over_its_weights() -> None:
    codes = np.array([[0, 1, 1], [2, 1, 0]])
    twin = twin_of(Codebook(codes, Dense(np.array([1.0, 2.0, 3.0], "f4"))))
    gradient = torch.arange(6.0).reshape(2, 3)
    twin.tensor().backward(gradient)
    expected = [gradient.numpy()[codes == k].sum() for k in range(3)]
    assert twin.parameters()[0].grad.tolist() == expected


def test_mask_can_change_while_training() -> None:
    twin = MaskedTwin(np.ones((2, 2), "f4"), np.ones((2, 2), bool))
    twin.mask = np.array([[True, False], [False, True]])
    assert twin.tensor().tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert twin.form().nonzero == 2


def test_augmentation_keeps_pixels_and_shifts_at_most_so_far() -> None:
    images = np.zeros((50, 1, 9, 9), np.uint8)
    images[:, :, 4, 4] = 200
    out = Augmentation(shift=2, flip=True)(images, np.random.default_rng(1))
    assert out.dtype == np.uint8 and (out.sum(axis=(1, 2, 3)) == 200).all()
    _, _, rows, cols = np.nonzero(out)
    assert (abs(rows - 4) <= 2).all() and (abs(cols - 4) <= 2).all()
    assert len(set(rows)) == 5


def test_augmentation_asks_the_network() -> None:
    """A network that looks at one side of the image does not know mirrored ones."""
    images = np.zeros((40, 1, 16, 16), np.uint8)
    images[:20, :, :, 1:4], images[20:, :, :, 12:15] = 255, 255
    labels = np.repeat([0, 1], 20)

    def one_sided(x: np.ndarray) -> float:
        right = x[..., 8:].mean((1, 2, 3)) > x[..., :8].mean((1, 2, 3))
        return 100.0 * float((right == labels).mean())

    found = detect(one_sided, images, seed=0)
    assert not found.flip and found.shift == 2
    assert detect(lambda x: 100.0, images, seed=0).flip


def small_problem(images: int = 60) -> Problem:
    """Two classes told apart by brightness, a two-layer network, and its data."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) % 2
    pixels = rng.integers(0, 100, (images, 1, 8, 8)) + 120 * labels[:, None, None, None]
    data = Data((pixels.astype(np.uint8), labels))
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2)
    )
    network = from_torch(module, torch.zeros(2, 1, 8, 8))
    rest, held_out = data.split(0.2, 0)
    return Problem.of(network, rest, held_out)


def test_training_learns_and_repeats() -> None:
    problem = small_problem()
    start = Packed.of(problem.original)
    settings = Training(epochs=8, learning_rate=0.01, batch=16, distil=0.0)
    results = []
    for _ in range(2):
        twins = twins_of(start.forms)
        train(problem, start.graph, twins, settings, seed=3, progress=Silent())
        results.append({name: twin.form().dense() for name, twin in twins.items()})
    assert all(np.array_equal(results[0][n], results[1][n]) for n in results[0])
    tuned = start.with_forms({n: Dense(v) for n, v in results[0].items()})
    assert problem.accuracy(tuned) == 100.0


def test_distillation_pulls_towards_the_original() -> None:
    problem = small_problem()
    rng = np.random.default_rng(1)
    start = Packed.of(problem.original)
    noisy = start.with_forms(
        {
            name: Dense(form.dense() + rng.normal(0, 0.05, form.shape).astype("f4"))
            for name, form in start.forms.items()
        }
    )
    twins = twins_of(noisy.forms)
    settings = Training(epochs=20, learning_rate=0.01, batch=16, distil=1.0, bfloat16="off")
    train(problem, start.graph, twins, settings, seed=0, progress=Silent())
    images = problem.held_out.batch(np.arange(len(problem.held_out)))
    goal = Model(start)(images)
    before = np.abs(Model(noisy)(images) - goal).mean()
    tuned = start.with_forms({name: twin.form() for name, twin in twins.items()})
    assert np.abs(Model(tuned)(images) - goal).mean() < 0.5 * before


def test_a_penalty_and_its_own_parameters_are_trained() -> None:
    problem = small_problem()
    packed = Packed.of(problem.original)
    twins = twins_of(packed.forms)
    slow, fast = (torch.ones(1, requires_grad=True) for _ in range(2))
    seen = []
    train(
        problem,
        packed.graph,
        twins,
        Training(epochs=2, learning_rate=0.01, schedule="constant", clip=1e9),
        seed=0,
        progress=Silent(),
        penalty=lambda: slow.abs().sum() + fast.abs().sum(),
        extra=[Group([slow], 0.1), Group([fast], 1.0)],
        after_step=lambda: seen.append(fast.item()),
    )
    assert 0 < 1 - slow.item() < 1 - fast.item()
    assert seen and seen[-1] == fast.item()


def test_seconds_shorten_the_schedule() -> None:
    problem, seen = small_problem(), []
    packed = Packed.of(problem.original)
    settings = Training(epochs=1000, seconds=0.0, batch=20)
    train(
        problem,
        packed.graph,
        twins_of(packed.forms),
        settings,
        seed=0,
        progress=Silent(),
        before_step=lambda step, steps: seen.append((step, steps)),
    )
    assert seen[0] == (0, seen[0][1]) and seen[0][1] > 1000
    assert seen[-1] == (2 * TIMED_STEPS - 1, 2 * TIMED_STEPS)  # as few as there can be


def test_minutes_buy_epochs() -> None:
    problem = small_problem()
    graph = problem.original.graph
    timed = replace(problem, minutes=2.0)
    assert timed.affordable_epochs(graph) > 0  # from a measurement of this machine
    timed.__dict__["_seconds_per_image"] = 0.1
    assert timed.affordable_epochs(graph) == pytest.approx(120 / (0.1 * len(problem.train)))


def test_a_loss_that_explodes_is_one_line() -> None:
    problem = small_problem()
    twins = twins_of(Packed.of(problem.original).forms)
    settings = Training(epochs=50, learning_rate=1e30, batch=16)
    with pytest.raises(ReticuleError, match="smaller learning_rate"):
        train(problem, problem.original.graph, twins, settings, seed=0, progress=Silent())


def test_logits_of_a_network_that_ends_in_a_softmax() -> None:
    graph = Graph({"x": (3,)}, ("y",), (Node("Softmax", "s", ("x",), ("y",)),), {})
    x = torch.tensor([[1.0, 2.0, 4.0]])
    (got,) = logits(graph, execute(graph, {}, x))
    assert torch.allclose(got.softmax(1), x.softmax(1), atol=1e-6)


@pytest.mark.parametrize("name", ["resnet_option_a", "mobilenet_v2", "lenet"])
def test_matched_moments_are_the_originals(name: str) -> None:
    """After matching, each layer's mean and spread on the same images are as before."""
    module, example = GALLERY[name]()
    network = fold_batch_norm(from_torch(module, example))
    rng = np.random.default_rng(0)
    images = rng.normal(size=(32, *example.shape[1:])).astype("f4")
    start = Packed.of(network)
    weights = {weight for _, weight in network.graph.weights()}
    damaged = start.with_forms(
        {
            n: Dense(
                (start.forms[n].dense() + rng.normal(0, 0.02, start.forms[n].shape)).astype("f4")
            )
            for n in weights
        }
    )
    matched = match_moments(damaged, network, (images,))
    names = {node.outputs[0]: node for node, _ in network.graph.weights()}

    def statistics(packed: Packed) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        tensors = constant_tensors(packed.network())
        watch = frozenset(names)
        with torch.no_grad():
            values = execute(packed.graph, tensors, torch.from_numpy(images), watch=watch)
        values = values[len(packed.graph.outputs) :]
        kept = [n for n in packed.graph.nodes if n.outputs[0] in names]
        return {
            node.name: (
                v.movedim(1, 0).flatten(1).mean(1).numpy(),
                v.movedim(1, 0).flatten(1).std(1).numpy(),
            )
            for node, v in zip(kept, values, strict=True)
        }

    goal, got = statistics(start), statistics(matched)
    for layer, (mean, spread) in goal.items():
        scale = max(spread.max(), 1e-3)
        # 32 images are not believed in full.
        assert np.abs(got[layer][0] - mean).max() < 0.04 * scale
        assert np.abs(got[layer][1] - spread).max() < 0.04 * scale
