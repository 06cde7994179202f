"""Which networks there are, what each is trained for, and how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generated import detection, measures, sets, training
from generated.architectures import CLASSIFIERS
from generated.measures import Answer
from generated.sets import Drawn
from generated.task_networks import Autoencoder, Detector, UNet, labeller, regressor


@dataclass(frozen=True)
class Task:
    """What is to be told from an image, and how that is trained and judged.

    ``draw`` makes images from their number and a seed; more is better in ``measure``, but
    where ``lower``.
    """

    draw: Callable[[int, int], Drawn]
    loss: training.Loss
    measure: Callable[[Answer, Any], float]
    lower: bool = False


@dataclass(frozen=True)
class Plan:
    """A network to be made, trained on so many images so many times."""

    make: Callable[[], nn.Module]
    task: Task
    images: int = 6144
    epochs: int = 4
    rate: float = 4e-3


def _some(answer: Tensor, wanted: Tensor) -> Tensor:
    return F.binary_cross_entropy(answer, wanted)


def _shape(answer: Tensor, mask: Tensor) -> Tensor:
    return F.binary_cross_entropy(answer[:, 0], (mask > 0).float())


def _itself(count: int, seed: int) -> Drawn:
    images = sets.classified(count, seed).images
    return Drawn(images, images.astype("f4") / 255)


CLASSIFICATION = Task(sets.classified, training.classes, measures.top1)
_RADIUS = Task(sets.measured, F.mse_loss, measures.rmse, lower=True)
_CENTRE = Task(sets.located, F.mse_loss, measures.rmse, lower=True)
_LABELS = Task(sets.present, _some, measures.probable_labels)
_LOGITS = Task(sets.present, F.binary_cross_entropy_with_logits, measures.positive_labels)
_MASK = Task(sets.masked, _shape, measures.shape_overlap)
_MASKS = Task(sets.masked, F.cross_entropy, measures.kinds_overlap)
_BOXES = Task(sets.boxed, detection.loss, detection.average_precision)
_ITSELF = Task(_itself, F.mse_loss, measures.rmse, lower=True)

MOBILE = ("mobilenet_v2", "mobilenet_v3", "efficientnet")
_WITHOUT_NORM = ("lenet", "two_convolutions", "vgg", "alexnet", "squeezenet", "odd_strides")


def _classifier(name: str) -> Plan:
    plan = Plan(CLASSIFIERS[name], CLASSIFICATION)
    if name in MOBILE:
        return replace(plan, epochs=6)
    return replace(plan, rate=2e-3, epochs=6) if name in _WITHOUT_NORM else plan


PLANS: dict[str, Plan] = {name: _classifier(name) for name in CLASSIFIERS} | {
    "radius": Plan(partial(regressor, 1), _RADIUS),
    "centre": Plan(partial(regressor, 2), _CENTRE),
    "labels": Plan(partial(labeller, True), _LABELS, epochs=8),
    "label_logits": Plan(partial(labeller, False), _LOGITS, epochs=8),
    "mask": Plan(partial(UNet, 1, True), _MASK, images=2048, epochs=3),
    "masks": Plan(partial(UNet, 4, False), _MASKS, images=2048, epochs=4),
    "detector": Plan(Detector, _BOXES, epochs=6),
    "autoencoder": Plan(Autoencoder, _ITSELF, images=2048),
}
TASKS = ("radius", "centre", "labels", "label_logits", "mask", "masks", "detector")


def untrained(plan: Plan, seed: int) -> nn.Module:
    """The module of a plan with its first weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return plan.make()


def trained(plan: Plan, seed: int) -> nn.Module:
    """The module of a plan after its training, in evaluation mode."""
    drawn = plan.task.draw(plan.images, seed)
    return training.train(
        untrained(plan, seed), drawn, plan.task.loss, epochs=plan.epochs, rate=plan.rate, seed=seed
    )
