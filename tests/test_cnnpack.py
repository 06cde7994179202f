"""Kernels as frequencies: convolving there, common parts, twins, CNNpack, dynamic pruning."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from codec_samples import common_forms, packed_of, quantised, same_form  # noqa: E402
from test_codec_reference import check  # noqa: E402
from test_engine_operands import assert_close, convolutions, convolved, layer  # noqa: E402
from test_hashing import network_of, written  # noqa: E402
from test_tuning import small_problem  # noqa: E402

from reticule.codec import About, dumps, loads  # noqa: E402
from reticule.codec.bits import ByteReader, ByteWriter  # noqa: E402
from reticule.codec.chunks import PRESETS  # noqa: E402
from reticule.codec.forms import read_form  # noqa: E402
from reticule.codec.limits import Budget, Limits  # noqa: E402
from reticule.codec.second_order import forward_dct  # noqa: E402
from reticule.engine.operands import DenseOperand, Operand, SparseOperand, operand_of  # noqa: E402
from reticule.engine.operands import common as common_module  # noqa: E402
from reticule.engine.operands import spectral as spectral_module  # noqa: E402
from reticule.engine.operands.spectral import FrequencyOperand  # noqa: E402
from reticule.errors import Fault, FormatError, ModelError  # noqa: E402
from reticule.forms import (  # noqa: E402
    Codebook,
    Common,
    Dense,
    Form,
    Packed,
    Quantised,
    Sparse,
    Spectral,
)
from reticule.methods import (  # noqa: E402
    CNNpack,
    Context,
    FrequencyPruning,
    Retrain,
    WeightSharing,
)
from reticule.methods.transform.clusters import clustered, kmeans, nearest  # noqa: E402
from reticule.methods.transform.cnnpack import on_grid  # noqa: E402
from reticule.methods.transform.domain import Coefficients  # noqa: E402
from reticule.methods.transform.frequency import band_factors  # noqa: E402
from reticule.methods.transform.twins import ShrunkTwin, SplicedTwin  # noqa: E402
from reticule.tuning.train import Training  # noqa: E402
from reticule.tuning.twins import twin_of  # noqa: E402

SHORT = Training(epochs=12, learning_rate=0.01, batch=16, bfloat16="off")


def kept(rng: np.random.Generator, shape, density: float = 0.3) -> Sparse:
    return Sparse.keep(rng.normal(size=shape).astype("f4"), rng.random(shape) < density)


def with_centres(rng: np.random.Generator, shape, count: int, dense: bool = False) -> Common:
    labels = rng.integers(0, count, shape[:2])
    centres: Form = kept(rng, (count, *shape[2:]), 0.6)
    centres = Dense(centres.dense()) if dense else centres
    return Common(labels, centres, kept(rng, shape, 0.1))


INSIDE = {
    "sparse": kept,
    "common": lambda rng, shape: with_centres(rng, shape, min(3, shape[0] * shape[1])),
    "dense centres": lambda rng, shape: with_centres(
        rng, shape, min(3, shape[0] * shape[1]), dense=True
    ),
}


# Running --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", INSIDE)
@settings(max_examples=40, deadline=None)
@given(case=convolutions())
def test_convolving_in_frequencies_is_convolving(kind, case) -> None:
    """Whatever the planner would choose: with groups, strides, dilations and pads."""
    rng = np.random.default_rng(case["seed"])
    form = Spectral(INSIDE[kind](rng, case["shape"]))
    bias = rng.standard_normal(case["shape"][0]).astype("f4")
    x = rng.standard_normal((case["images"], *case["image"])).astype("f4")
    expected = convolved(x, form.dense(), bias, **case["attributes"])
    for chosen in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Spectral, "stays", lambda *_, chosen=chosen: chosen)
            found = layer("Conv", form, case["image"], case["attributes"], bias)(x)
        assert_close(found, expected, 1e-5)


def products_of(operand: Operand, shape, groups: int, monkeypatch) -> int:
    """Multiplications of one position, counted where they are done.

    Responses of centres are multiplied by one, which is no multiplication.
    """
    count = 0
    plain = np.matmul

    def matmul(a, b, **options):
        nonlocal count
        out = plain(a, b, **options)
        count += out.size * a.shape[-1]
        return out

    original = SparseOperand.convolve

    def sparse(self, columns, threads):
        nonlocal count
        ones = isinstance(self.form.values, Codebook) and self.table.tolist() == [1.0]
        if not ones:
            together = columns.shape[0] * columns.shape[3]
            count += self.form.columns.size * together
        return original(self, columns, threads)

    monkeypatch.setattr(np, "matmul", matmul)
    monkeypatch.setattr(SparseOperand, "convolve", sparse)
    columns = np.ones((1, groups, int(np.prod(shape[1:])), 1), "f4")
    operand.convolve(columns, 1)
    monkeypatch.undo()
    return count


@pytest.mark.parametrize("kind", INSIDE)
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 5), (4, 1), (1, 1), (5, 2)])
def test_the_count_of_multiplications_is_what_the_operand_does(
    kind, groups: int, kernel, monkeypatch
) -> None:
    rng = np.random.default_rng(1)
    shape = (40, 6, *kernel)
    form = Spectral(INSIDE[kind](rng, shape))
    operand = operand_of(form).ready(groups)
    assert isinstance(operand, FrequencyOperand) == form.stays(groups)
    assert form.multiplications(groups) <= form.size
    assert products_of(operand, shape, groups, monkeypatch) == form.multiplications(groups)
    assert form.macs == form.multiplications(1)


def test_the_count_is_that_of_the_paper() -> None:
    """N_in T + N_in nnz(centres) + nnz(residuals), with T = 2 d^3."""
    rng = np.random.default_rng(2)
    form = Spectral(with_centres(rng, (64, 16, 5, 5), 8))
    inner = form.coefficients
    expected = 16 * 2 * 5**3 + 16 * inner.centres.nonzero + inner.residual.nonzero
    assert form.macs == expected < form.size
    sparse = Spectral(inner.residual)
    assert sparse.macs == 16 * 2 * 5**3 + inner.residual.nonzero
    assert Spectral(Dense(np.ones((4, 3, 3, 3), "f4"))).macs == 108
    # Of a depthwise layer each channel has one kernel, and nothing is shared.
    depthwise = Spectral(kept(rng, (32, 1, 3, 3), 0.1))
    assert depthwise.stays(1) and not depthwise.stays(32)
    assert depthwise.multiplications(32) == depthwise.size
    assert isinstance(operand_of(depthwise).ready(32), DenseOperand)


def test_no_dense_kernels_are_made() -> None:
    rng = np.random.default_rng(3)
    form = Spectral(kept(rng, (512, 256, 3, 3), 0.02))
    operand = operand_of(form)
    columns = rng.normal(size=(1, 1, 256 * 9, 4)).astype("f4")
    tracemalloc.start()
    try:
        operand.ready(1).convolve(columns, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * form.size / 10
    assert operand.nbytes < 4 * form.size / 10


def test_a_stage_of_responses_restores_no_matrix() -> None:
    rng = np.random.default_rng(4)
    form = with_centres(rng, (6, 4, 3, 3), 3)
    for operand in (
        operand_of(form).responding(),
        FrequencyOperand(operand_of(Spectral(form))),
    ):
        assert isinstance(operand, common_module._Responding | spectral_module.FrequencyOperand)
        assert operand.nbytes > 0
        with pytest.raises(NotImplementedError):
            operand.matrix(0, 1)


# Common parts ---------------------------------------------------------------------------------


def test_a_kernel_is_its_centre_and_its_residual() -> None:
    rng = np.random.default_rng(0)
    form = with_centres(rng, (5, 4, 3, 2), 6)
    centres, residual = form.centres.dense(), form.residual.dense()
    for o, i in np.ndindex(5, 4):
        assert np.array_equal(form.dense()[o, i], centres[form.labels[o, i]] + residual[o, i])
    assert form.nonzero == np.count_nonzero((centres != 0)[form.labels] | (residual != 0))
    assert form.bits == 20 * 3 + form.centres.bits + form.residual.bits
    assert form.name == "common6(sparse)"
    rows = form.dense().reshape(5, -1)
    assert np.array_equal(operand_of(form).matrix(1, 4), rows[1:4])
    assert same_form(form, form)
    moved = replace(form, labels=(form.labels + 1) % 6)
    assert not same_form(form, moved)


@pytest.mark.parametrize(
    ("labels", "centres", "residual", "complaint"),
    [
        ((2, 3), (4, 3, 3), (2, 3, 3, 2), "centres of"),
        ((2, 3), (4, 9), (2, 3, 3, 3), "centres of"),
        ((2, 3), (), (2, 3, 3, 3), "centres of"),
        ((3, 2), (4, 3, 3), (2, 3, 3, 3), "labels of"),
        ((2, 3), (7, 3, 3), (2, 3, 3, 3), "7 centres for 6"),
        ((2,), (1, 3, 3), (2, 3, 3), "centres of"),
    ],
)
def test_parts_that_do_not_fit_are_refused(labels, centres, residual, complaint) -> None:
    parts = [Dense(np.zeros(shape, "f4")) for shape in (centres, residual)]
    with pytest.raises(ValueError, match=complaint):
        Common(np.zeros(labels, np.int64), *parts)
    zeros = Dense(np.zeros((2, 1, 2, 2), "f4")), Dense(np.zeros((2, 2, 2, 2), "f4"))
    for label in (-1, 2):
        with pytest.raises(ValueError, match="label outside"):
            Common(np.full((2, 2), label), Dense(np.zeros((2, 2, 2), "f4")), zeros[1])


@pytest.mark.parametrize("preset", PRESETS)
def test_common_parts_come_back_through_every_preset(preset: str) -> None:
    packed = common_forms()
    data = dumps(packed, About(), preset)
    found = loads(data).packed.forms
    assert all(same_form(form, found[name]) for name, form in packed.forms.items())
    assert all(
        form.dense().tobytes() == found[name].dense().tobytes()
        for name, form in packed.forms.items()
    )
    check(data, packed.forms)  # the reader that was written from the specification


def structure(shape, count: int) -> bytes:
    """The structure of a tensor with so many float32 centres and float32 residuals."""
    out = ByteWriter()
    out.varint(len(shape) + 16 * 8)
    for axis in (*shape, count, 0, 0):
        out.varint(axis)
    return out.bytes()


@pytest.mark.parametrize(
    ("shape", "count", "fault"),
    [
        ((2, 1, 2, 2), 3, Fault.BAD_INDEX),
        ((2, 1, 2, 2), 0, Fault.BAD_INDEX),
        ((2, 1, 2, 2), 1 << 62, Fault.BAD_INDEX),
        ((0, 1, 2, 2), 1, Fault.BAD_INDEX),
        ((2, 2, 2), 1, Fault.UNKNOWN_FORM),
        ((1 << 14, 1 << 6, 3, 3), 1 << 20, Fault.TOO_LARGE),  # more than the file's weights
    ],
)
def test_hostile_counts_are_refused_before_anything_is_allocated(shape, count, fault) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FormatError) as raised:
            read_form(ByteReader(structure(shape, count), "x"), Budget(100, Limits()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert raised.value.fault is fault
    assert peak < 8 << 20


def test_a_structure_cut_short_is_refused_wherever_it_ends() -> None:
    whole = structure((2, 1, 2, 2), 2)
    assert read_form(ByteReader(whole, "x"), Budget(100, Limits())).shape == (2, 1, 2, 2)
    for end in range(len(whole)):
        with pytest.raises(FormatError) as raised:
            read_form(ByteReader(whole[:end], "x"), Budget(100, Limits()))
        assert raised.value.fault is Fault.TRUNCATED


def test_labels_and_sums_out_of_range_are_refused() -> None:
    centres = quantised(np.random.default_rng(0), (2, 2, 2))
    form = Common(np.array([[0, 1]]), centres, Dense(np.zeros((1, 2, 2, 2), "f4")))
    for label, fault in ((-1, Fault.BAD_INDEX), (2, Fault.BAD_INDEX), (1, None)):
        pending = read_form(ByteReader(written(form), "x"), Budget(100, Limits()))
        for array in pending.arrays:
            array.data[:] = 0
        pending.arrays[0].data[:] = label
        if fault is None:
            assert isinstance(pending.build(), Common)
            continue
        with pytest.raises(FormatError) as raised:
            pending.build()
        assert raised.value.fault is fault
    large = Dense(np.full((1, 2, 2), 3e38, "f4"))
    sums = Common(np.zeros((1, 1), int), large, Dense(np.full((1, 1, 2, 2), 3e38, "f4")))
    with pytest.raises(ModelError, match="infinite"):
        dumps(packed_of({"w": sums}), About())
    inside = Sparse.at(np.ones((1, 2), bool), Dense(np.zeros(2, "f4")))
    assert loads(dumps(packed_of({"w": inside}), About())).packed.forms["w"].shape == (1, 2)


# Twins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", INSIDE)
def test_gradients_of_coefficients_are_differences(kind) -> None:
    rng = np.random.default_rng(5)
    form = Spectral(INSIDE[kind](rng, (4, 3, 3, 2)))
    weighting = torch.from_numpy(rng.normal(size=form.shape))
    twin = twin_of(form)
    np.testing.assert_allclose(twin.tensor().detach().numpy(), form.dense(), atol=1e-5)
    (twin.tensor().double() * weighting).sum().backward()
    for values in twin.parameters():
        for place in list(np.ndindex(*values.shape))[:: max(1, values.numel() // 12)]:
            sums = []
            with torch.no_grad():
                for step in (0.5, -1.0):
                    values[place] += step
                    sums.append(float((twin.tensor().double() * weighting).sum()))
                values[place] += 0.5
            assert values.grad[place].item() == pytest.approx(sums[0] - sums[1], abs=1e-4)
    assert same_form(twin.form(), twin_of(twin.form()).form())


def test_levels_train_through_the_rounding_and_zeros_stay() -> None:
    form = Quantised(np.array([[2, 0, -1], [0, 5, 1]]), 0.5)
    twin = twin_of(form)
    (values,) = twin.parameters()
    assert same_form(twin.form(), form)
    (twin.tensor() * torch.arange(6.0).reshape(2, 3)).sum().backward()
    assert values.grad.tolist() == [[0, 0, 2], [0, 4, 5]]
    with torch.no_grad():
        values += torch.tensor([[0.2, 9.0, 0.6], [9.0, -0.3, -0.6]])
    assert twin.form().levels.tolist() == [[2, 0, 0], [0, 4, 0]]
    assert np.array_equal(twin.tensor().detach().numpy(), twin.form().dense())
    trellis = quantised(np.random.default_rng(0), (4, 6), 8)
    assert twin_of(trellis).parameters() == [] and same_form(twin_of(trellis).form(), trellis)


def test_what_is_pruned_moves_on_and_may_come_back() -> None:
    values = np.array([[1.0, 0.1, -0.5, 0.0]], "f4")
    twin = SplicedTwin(values, np.array([[True, True, True, False]]))
    assert twin.splice(np.array(0.5)) == 0
    assert twin.mask.tolist() == [[True, False, True, False]]  # 0.5 is above 0.9 * 0.5
    assert twin.tensor().detach().numpy().tolist() == [[1.0, 0.0, -0.5, 0.0]]
    twin.tensor().sum().backward()
    assert twin.parameters()[0].grad.tolist() == [[1, 1, 1, 1]]  # straight through
    with torch.no_grad():
        twin.parameters()[0].copy_(torch.tensor([[0.44, 0.6, -0.46, 7.0]]))
    assert twin.splice(np.array(0.5)) == 1
    assert twin.mask.tolist() == [[False, True, True, False]]
    assert twin.splice(np.array([[0.3, 9, 9, 9]])) == 1  # a threshold for each
    assert twin.mask.tolist() == [[True, False, False, False]]
    twin.open = False
    twin.parameters()[0].grad = None
    twin.tensor().sum().backward()
    assert twin.parameters()[0].grad.tolist() == [[1, 0, 0, 0]]
    assert twin.form().columns.tolist() == [0]


@given(st.floats(-3, 3), st.floats(0.01, 2))
def test_shrinkage_minimises_its_objective(value: float, threshold: float) -> None:
    """Among a fine grid of candidates, none has a smaller (x - c)^2 + 2 t |x|."""
    twin = ShrunkTwin(np.array([[value]], "f4"), np.ones((1, 1), bool))
    twin.shrink(threshold)
    found = float(twin.form().dense()[0, 0])
    grid = np.linspace(-3, 3, 2001)

    def cost(x):
        return (x - value) ** 2 + 2 * threshold * np.abs(x)

    assert cost(found) <= cost(grid).min() + 1e-5


def test_what_was_shrunk_to_zero_stays_zero() -> None:
    twin = ShrunkTwin(np.array([[1.0, -0.2, 0.0]], "f4"), np.ones((1, 3), bool))
    twin.shrink(0.25)
    with torch.no_grad():
        twin.parameters()[0].fill_(5.0)
    assert twin.form().dense().tolist() == [[5.0, 0.0, 0.0]]


# Clusters and the grid ------------------------------------------------------------------------


def test_kmeans_finds_clusters_and_assigns_each_vector_to_the_nearest() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 9]])
    vectors = np.repeat(truth, (50, 20, 30), axis=0) + 0.1 * rng.normal(size=(100, 3))
    best = min(
        (kmeans(vectors, 3, np.random.default_rng(seed)) for seed in range(5)),
        key=lambda found: np.square(vectors - found[0][found[1]]).sum(),
    )
    centres, labels = best
    assert np.abs(centres - truth[[0, 2, 1]]).max() < 0.1  # the largest comes first
    distances = np.square(vectors[:, None] - centres).sum(2)
    assert np.array_equal(labels, distances.argmin(1))
    assert np.array_equal(nearest(vectors, centres), labels)
    for label in range(3):
        np.testing.assert_allclose(centres[label], vectors[labels == label].mean(0))


def test_common_parts_take_energy_out_of_alike_kernels_only() -> None:
    rng = np.random.default_rng(1)
    patterns = rng.normal(size=(4, 1, 3, 3)).astype("f4")
    alike = patterns[rng.integers(0, 4, 48)].reshape(8, 6, 3, 3)
    alike = alike + 0.05 * rng.normal(size=alike.shape).astype("f4")
    part = Coefficients.of(Dense(alike), "dct")
    form = clustered(part, 8, rng)
    assert form is not None
    np.testing.assert_allclose(form.dense(), part.values, atol=1e-5)
    assert np.square(form.residual.dense()).sum() < 0.2 * np.square(part.values).sum()
    assert clustered(Coefficients.of(Dense(alike), "none"), 8, rng) is None
    assert clustered(Coefficients.of(Dense(alike[:1]), "dct"), 8, rng) is None  # six kernels


def test_the_grid_has_omega_levels_for_the_root_mean_square() -> None:
    rng = np.random.default_rng(2)
    form = kept(rng, (30, 40))
    for omega in (1.0, 4.0, 50.0):
        made = on_grid(form, omega)
        levels = made.values
        scale = np.sqrt(np.square(form.values.dense().astype("f8")).mean())
        assert levels.step == pytest.approx(scale / omega, rel=0.005)
        assert np.abs(made.dense() - form.dense()).max() <= levels.step * 0.5001
        assert levels.levels.all() and not (made.mask() & ~form.mask()).any()
        clipped = on_grid(form, omega, 1.5)
        assert np.abs(clipped.dense()).max() <= 1.5 * scale + levels.step
    nothing = on_grid(kept(rng, (4, 4), 0.0), 3.0)
    assert nothing.columns.size == 0 and not nothing.dense().any()


# Methods --------------------------------------------------------------------------------------


def context_of(images: int = 60) -> Context:
    problem = small_problem(images)
    return Context(problem.original, problem=problem, seed=1)


METHODS = {
    "cnnpack": CNNpack(training=SHORT, smallest=8),
    "clustered": CNNpack(training=SHORT, smallest=8, clusters=2, shrinkage=0.3),
    "frequency": FrequencyPruning(training=SHORT, smallest=8),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_trained_network_survives_and_comes_back_from_its_file(name: str) -> None:
    context = context_of()
    trained = Retrain(training=SHORT).apply(Packed.of(context.original), context).packed
    outcome = METHODS[name].apply(trained, context)
    conv, fc = (outcome.packed.forms[n] for n in ("0.weight", "3.weight"))
    assert isinstance(conv, Spectral) and isinstance(fc, Sparse)
    assert 0 < outcome.notes["density"] < 1
    tuned = Retrain(training=SHORT).apply(outcome.packed, context).packed
    assert context.data.accuracy(tuned) >= 90
    for after, before in ((tuned.forms["0.weight"], conv), (tuned.forms["3.weight"], fc)):
        inner = [f.coefficients if isinstance(f, Spectral) else f for f in (before, after)]
        zeros = [form.dense() == 0 for form in inner]
        if not isinstance(inner[0], Common):
            assert not (zeros[0] & ~zeros[1]).any()
    again = loads(dumps(tuned, About(), "small")).packed.forms
    assert all(same_form(form, again[n]) for n, form in tuned.forms.items())
    repeated = METHODS[name].apply(trained, context).packed.forms
    assert all(same_form(form, repeated[n]) for n, form in outcome.packed.forms.items())


@pytest.mark.parametrize("name", METHODS)
def test_without_the_transform_weights_stay_weights(name: str) -> None:
    context = context_of()
    method = replace(METHODS[name], transform="none")
    found = method.apply(Packed.of(context.original), context).packed.forms
    assert all(not isinstance(form, Spectral) for form in found.values())
    assert all(isinstance(found[n], Sparse) for n in ("0.weight", "3.weight"))


@pytest.mark.parametrize("epochs", [12, 0.01])
def test_the_density_asked_for_is_reached_however_few_the_steps(epochs: float) -> None:
    context = context_of()
    training = replace(SHORT, epochs=epochs)
    for density in (0.2, 0.5):
        method = FrequencyPruning(density=density, training=training, smallest=8, floor=0.0)
        outcome = method.apply(Packed.of(context.original), context)
        assert outcome.notes["density"] == pytest.approx(density, abs=0.01)
    shrunk = CNNpack(training=training, smallest=8).apply(Packed.of(context.original), context)
    assert shrunk.notes["density"] < 0.9


def test_more_shrinkage_keeps_less() -> None:
    context = context_of()
    densities = [
        CNNpack(shrinkage=shrinkage, training=SHORT, smallest=8)
        .apply(Packed.of(context.original), context)
        .notes["density"]
        for shrinkage in (0.1, 1.0, 2.0, 50.0)
    ]
    assert all(later <= earlier for earlier, later in pairwise(densities))
    assert 0 < densities[-1] < densities[0]  # no layer vanishes


def test_high_bands_have_higher_thresholds() -> None:
    part = Coefficients.of(Dense(np.ones((2, 2, 3, 4), "f4")), "dct")
    factors = band_factors(part, 0.5)
    assert factors[0, 0] == 1.0 and factors[2, 3] == 1.5
    assert factors[1, 2] == factors[2, 1] == pytest.approx(1.3)
    assert band_factors(Coefficients.of(Dense(np.ones((9, 9), "f4")), "dct"), 0.5) == 1.0
    noise = np.random.default_rng(0).normal(size=(40, 40, 3, 3)).astype("f4")
    parts = {"w": Coefficients(noise, np.ones(noise.shape, bool), True)}
    kept_ = [
        FrequencyPruning(band=band)._masks(parts, {"w": noise}, 0.3)["w"].mean((0, 1))
        for band in (0.0, 2.0)
    ]
    assert abs(kept_[0][0, 0] - kept_[0][2, 2]) < 0.05
    assert kept_[1][0, 0] > 0.5 and kept_[1][2, 2] < 0.2


SHAPES = {"conv": (8, 4, 3, 3), "point": (16, 8, 1, 1), "flat": (6, 5, 1, 7), "fc": (20, 30)}


def test_which_layers_are_transformed_and_what_was_pruned_stays() -> None:
    packed = network_of(
        {**SHAPES, "pruned": (8, 4, 3, 3), "zero": (8, 4, 3, 3), "none": (0, 4, 3, 3)}
    )
    mask = np.random.default_rng(0).random((8, 4, 3, 3)) < 0.3
    packed = packed.with_forms(
        {
            "pruned": Sparse.keep(packed.forms["pruned"].dense(), mask),
            "zero": Dense(np.zeros((8, 4, 3, 3), "f4")),
        }
    )
    parts = {name: Coefficients.of(form, "dct") for name, form in packed.forms.items()}
    spectral = {name for name, part in parts.items() if part.spectral}
    assert spectral == {"conv", "flat", "zero", "none"}
    assert np.array_equal(parts["pruned"].allowed, mask)
    for name, part in parts.items():
        restored = part.form(Dense(part.values)).dense()
        np.testing.assert_allclose(restored, packed.forms[name].dense(), atol=1e-5)
        form = part.form(on_grid(ShrunkTwin(part.values, part.allowed).form(), 3.0))
        again = Coefficients.of(replace_values(form), "dct")
        assert again.spectral == part.spectral
        assert not (again.allowed & ~part.allowed).any()
    zero = part.twin(SplicedTwin(part.values, part.allowed))
    assert zero.tensor().shape == (0, 4, 3, 3)


def replace_values(form: Form) -> Form:
    """Floating-point values in place of levels."""
    if isinstance(form, Spectral):
        return replace(form, coefficients=replace_values(form.coefficients))
    return replace(form, values=Dense(form.values.dense()))


def test_coefficients_share_values_as_weights_do() -> None:
    rng = np.random.default_rng(0)
    packed = network_of({"conv": (8, 4, 3, 3), "fc": (20, 30)})
    form = Spectral(kept(rng, (8, 4, 3, 3), 0.5))
    packed = packed.with_forms({"conv": form})
    found = WeightSharing(conv_bits=3).apply(packed, Context(packed.network())).packed.forms
    conv = found["conv"]
    assert isinstance(conv, Spectral) and isinstance(conv.coefficients.values, Codebook)
    assert np.array_equal(conv.coefficients.mask(), form.coefficients.mask())
    assert len(np.unique(conv.coefficients.values.dense())) <= 8


def test_smooth_kernels_lose_less_in_frequencies_than_in_taps() -> None:
    """At the same number of non-zeros, without any training (the outputs' error)."""
    rng = np.random.default_rng(0)
    taps = np.arange(5)
    smooth = np.exp(-np.abs(taps[:, None] - taps) / 3.0)  # covariance of neighbouring taps
    root = np.linalg.cholesky(smooth)
    kernels = (root @ rng.normal(size=(16, 8, 5, 5)) @ root.T).astype("f4")
    x = rng.normal(size=(2, 8, 12, 12)).astype("f4")
    plain = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "group": 1}
    expected = convolved(x, kernels, np.zeros(16), **plain)
    errors = {}
    for transform in ("dct", "none"):
        part = Coefficients.of(Dense(kernels), transform)
        cut = np.abs(part.values) >= np.quantile(np.abs(part.values), 0.8)
        form = part.form(Sparse.keep(part.values, cut))
        found = convolved(x, form.dense(), np.zeros(16), **plain)
        errors[transform] = np.square(found - expected).sum()
    assert errors["dct"] < 0.7 * errors["none"]
    np.testing.assert_allclose(
        np.square(forward_dct(kernels)).sum(), np.square(kernels).sum(), rtol=1e-5
    )
