"""The training loop: cross-entropy and distillation under the forms' constraints.

Loss for labels y, logits z of the network in training and t of the original:

    (1 - a) * CE(z, y) + a * T^2 * KL(softmax(t / T) || softmax(z / T))

(Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", 2015.)
Further outputs of a network are distilled only.  What is no classifier, or has no labels,
learns from the original alone: the loss is what its answers lose
(:mod:`reticule.tuning.likelihood`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reticule.errors import ReticuleError
from reticule.graph import Graph
from reticule.progress import Progress
from reticule.tuning.device import CPU, on_device
from reticule.tuning.executor import execute
from reticule.tuning.likelihood import Likelihood, logits, spreads_of
from reticule.tuning.problem import Problem, as_input, constant_tensors
from reticule.tuning.twins import Twin

DEFAULT_RATE = 3e-4
TIMED_STEPS = 10
Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class Training:
    """Settings of one stretch of training.

    ``epochs`` None means: what the network can afford; ``learning_rate`` None: by how
    many weights are left (see the ``retrain`` method).  ``distil`` is the weight a of
    the distillation term, ``temperature`` its T.
    ``seconds`` is what it may take: the first steps show how many there can be.
    ``bfloat16`` "auto" uses that arithmetic for activations where the CPU has
    instructions for it (weights and the optimiser stay in float32).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    epochs: float | None = None
    seconds: float | None = None
    learning_rate: float | None = None
    batch: int = 128
    schedule: Schedule = "linear"
    distil: float = 0.25
    temperature: float = 2.0
    clip: float = 1.0
    bfloat16: Literal["auto", "on", "off"] = "auto"


@dataclass(frozen=True)
class Group:
    """Parameters whose learning rate is ``factor`` times that of the settings."""

    parameters: Sequence[Tensor]
    factor: float = 1.0


def train(
    problem: Problem,
    graph: Graph,
    twins: Mapping[str, Twin],
    settings: Training,
    *,
    seed: int,
    progress: Progress,
    title: str = "tuning",
    before_step: Callable[[int, int], None] | None = None,
    after_step: Callable[[], None] | None = None,
    penalty: Callable[[], Tensor] | None = None,
    extra: Sequence[Group] = (),
    holders: Sequence[object] = (),
) -> None:
    """Train the twins in place, on the device of the problem.

    ``before_step(step, steps)`` may change masks, ``after_step()`` clip weights.
    ``penalty()`` is added to the loss of each batch (a mean over its images), ``extra``
    are parameters of it, say, with learning rates of their own, and ``holders`` the objects
    whose tensors it computes with.
    """
    steps = steps_of(problem, settings)
    optimiser = optimiser_for(twins, extra)
    teacher = constant_tensors(problem.original, problem.device)
    batches = _batches(problem, settings.batch, seed)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    start, step = time.monotonic(), 0
    with on_device(problem.device, twins, holders), progress.bar(title, steps) as bar:
        while step < steps:
            if step == TIMED_STEPS and settings.seconds is not None:
                steps = min(steps, _possible_steps(start, settings.seconds))
                bar.shorten(steps)
            if before_step:
                before_step(step, steps)
            _set_rate(optimiser, settings, step / max(steps, 1))
            inputs, labels = next(batches)
            loss = _loss(problem, graph, twins, teacher, inputs, labels, settings)
            if penalty:
                loss = loss + penalty()
            if not math.isfinite(loss.item()):
                raise ReticuleError(
                    f"{title}: the loss became {loss.item()} at step {step}; "
                    "use a smaller learning_rate in the recipe"
                )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimiser.step()
            if after_step:
                after_step()
            step += 1
            bar.advance(1, f"loss {loss.item():.3f}")


def _possible_steps(start: float, seconds: float) -> int:
    """Steps for so many seconds, at the pace since the start."""
    pace = (time.monotonic() - start) / TIMED_STEPS
    return max(2 * TIMED_STEPS, int(seconds / max(pace, 1e-6)))


def steps_of(problem: Problem, settings: Training) -> int:
    """Number of optimiser steps of a stretch of training."""
    per_epoch = max(1, len(problem.train) // settings.batch)
    return math.ceil((settings.epochs or 0.0) * per_epoch)


def optimiser_for(twins: Mapping[str, Twin], extra: Sequence[Group] = ()) -> torch.optim.Optimizer:
    """Adam over everything that the twins train; the rate is set per step."""
    own = [p for twin in twins.values() for p in twin.parameters()]
    groups = [Group(own), *extra] if own else extra
    return torch.optim.Adam(
        [{"params": list(g.parameters), "factor": g.factor} for g in groups], lr=0.0
    )


def rate_at(settings: Training, done: float) -> float:
    """The learning rate when the share ``done`` (0 to 1) of the steps is done."""
    rate = DEFAULT_RATE if settings.learning_rate is None else settings.learning_rate
    factor = {
        "constant": 1.0,
        "linear": 1.0 - done,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
    }[settings.schedule]
    return rate * factor


def _set_rate(optimiser: torch.optim.Optimizer, settings: Training, done: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate_at(settings, done) * group["factor"]


def _batches(
    problem: Problem, size: int, seed: int
) -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray | None]]:
    """Shuffled, augmented batches without end: inputs, and labels for a classifier."""
    rng = np.random.default_rng(seed)
    data, size = problem.train, min(size, len(problem.train))
    labels = data.labels if problem.classified else None
    while True:
        order = rng.permutation(len(data))
        for start in range(0, len(data) - size + 1, size):
            chosen = order[start : start + size]
            yield _augmented(problem, chosen, rng), None if labels is None else labels[chosen]


def _augmented(
    problem: Problem, chosen: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    data = problem.train
    if not data.holds_images:
        return data.inputs(chosen)
    return (data.preprocessing.apply(problem.augmentation(data.images(chosen), rng)),)


def _loss(
    problem: Problem,
    graph: Graph,
    twins: Mapping[str, Twin],
    teacher: Mapping[str, Tensor],
    inputs: tuple[np.ndarray, ...],
    labels: np.ndarray | None,
    settings: Training,
) -> Tensor:
    x = [as_input(part, problem.device) for part in inputs]
    tensors = {name: twin.tensor() for name, twin in twins.items()}
    with _arithmetic(settings.bfloat16, problem.device):
        raw = execute(graph, tensors, *x)
        if labels is None:
            return _imitation(problem, graph, raw, teacher, x)
        outputs, y = logits(graph, raw), torch.from_numpy(labels).to(problem.device)
        if not settings.distil:
            return F.cross_entropy(outputs[0], y)
        with torch.no_grad():
            goals = logits(problem.original.graph, execute(problem.original.graph, teacher, *x))
    weight, t = settings.distil, settings.temperature
    loss = (1.0 - weight) * F.cross_entropy(outputs[0], y)
    for out, goal in zip(outputs, goals, strict=True):
        soft, aim = F.log_softmax(out / t, -1), F.log_softmax(goal / t, -1)
        divergence = F.kl_div(soft, aim, reduction="sum", log_target=True) / len(y)
        loss = loss + weight * t * t / len(outputs) * divergence
    return loss


def _imitation(
    problem: Problem,
    graph: Graph,
    outputs: Sequence[Tensor],
    teacher: Mapping[str, Tensor],
    inputs: Sequence[Tensor],
) -> Tensor:
    """What the answers lose beside the original's, in nats for each input."""
    likelihood = Likelihood(spreads_of(problem.witness.exact))
    with torch.no_grad():
        goals = execute(problem.original.graph, teacher, *inputs)
    exact = likelihood.compared(problem.original.graph, goals)
    return likelihood.nats(exact, likelihood.compared(graph, outputs)).mean()


def _arithmetic(choice: str, device: torch.device) -> AbstractContextManager:
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)
    fast = choice == "on" or (choice == "auto" and device == CPU and supported())
    return torch.autocast(device.type, torch.bfloat16) if fast else nullcontext()
