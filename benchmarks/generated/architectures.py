"""Classifiers of drawn images, 3 x 32 x 32: small, but true to the blocks of their families.

``CLASSIFIERS`` maps a name to a function that makes the untrained module.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from generated.blocks import (
    Dense,
    Fire,
    Inception,
    Residual,
    Shuffle,
    conv_bn,
    inverted_residual,
)
from generated.sets import CLASSES


def head(channels: int) -> list[nn.Module]:
    """The mean of each channel, and a linear layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, 192), nn.BatchNorm1d(192), nn.ReLU(),
        nn.Linear(192, 96), nn.Tanh(), nn.Linear(96, CLASSES),
    )  # fmt: skip


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 5), nn.ReLU(),
        nn.MaxPool2d(3, 3, 1), nn.Flatten(), nn.Linear(384, 96), nn.ReLU(), nn.Linear(96, CLASSES),
    )  # fmt: skip


def two_convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(32, 64, 5, stride=2),
        nn.ReLU(), *head(64),
    )  # fmt: skip


def vgg() -> nn.Module:
    layers: list[nn.Module] = []
    inside = 3
    for out in (16, 32, 64):
        layers += [nn.Conv2d(inside, out, 3, padding=1), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(out, out, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        inside = out
    return nn.Sequential(
        *layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(64, CLASSES),
    )  # fmt: skip


def alexnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 24, 5, stride=2, padding=2), nn.ReLU(inplace=True),
        nn.LocalResponseNorm(5, alpha=0.1, beta=0.75, k=2.0), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(24, 48, 3, padding=1, groups=2), nn.ReLU(inplace=True),
        nn.Conv2d(48, 48, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((4, 2)),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(384, 96), nn.ReLU(inplace=True),
        nn.Linear(96, CLASSES),
    )  # fmt: skip


def resnet() -> nn.Module:
    def block(inside: int, out: int, stride: int) -> nn.Module:
        body = nn.Sequential(
            conv_bn(inside, out, 3, nn.ReLU(), stride=stride), conv_bn(out, out, 3)
        )
        return Residual(body, conv_bn(inside, out, 1, stride=stride) if stride > 1 else None)

    return nn.Sequential(
        conv_bn(3, 16, 3, nn.ReLU(), stride=2), block(16, 16, 1), block(16, 32, 2),
        block(32, 32, 1), block(32, 64, 2), *head(64),
    )  # fmt: skip


def resnext() -> nn.Module:
    def block(inside: int, out: int, stride: int) -> nn.Module:
        body = nn.Sequential(
            conv_bn(inside, out, 1, nn.ReLU()),
            conv_bn(out, out, 3, nn.ReLU(), groups=8, stride=stride),
            conv_bn(out, out, 1),
        )
        return Residual(body, conv_bn(inside, out, 1, stride=stride) if stride > 1 else None)

    return nn.Sequential(
        conv_bn(3, 32, 3, nn.ReLU(), stride=2), block(32, 32, 1), block(32, 64, 2),
        block(64, 64, 1), block(64, 96, 2), *head(96),
    )  # fmt: skip


def densenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), Dense(16, 12, 4), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Conv2d(64, 32, 1), nn.AvgPool2d(2, 2), Dense(32, 16, 4), nn.BatchNorm2d(96), nn.ReLU(),
        *head(96),
    )  # fmt: skip


def shufflenet() -> nn.Module:
    return nn.Sequential(
        conv_bn(3, 32, 3, nn.ReLU(), stride=2), Shuffle(32, False), Shuffle(32, True),
        conv_bn(32, 64, 3, nn.ReLU(), stride=2), Shuffle(64, False), Shuffle(64, True),
        conv_bn(64, 96, 1, nn.ReLU()), *head(96),
    )  # fmt: skip


def squeezenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, ceil_mode=True), Fire(32, 16, 32), Fire(64, 16, 32),
        nn.MaxPool2d(3, stride=2, ceil_mode=True), Fire(64, 24, 48), nn.Dropout(0.2),
        nn.Conv2d(96, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def inception() -> nn.Module:
    return nn.Sequential(
        conv_bn(3, 24, 3, nn.ReLU(), stride=2), Inception(24, 16, 24, 8), Inception(48, 16, 24, 8),
        nn.MaxPool2d(3, 2), Inception(48, 32, 48, 16), *head(96),
    )  # fmt: skip


def mobilenet_v2() -> nn.Module:
    def block(inside: int, out: int, stride: int, times: int = 4) -> nn.Module:
        return inverted_residual(inside, out, stride, wide=times * inside, act=nn.ReLU6)

    return nn.Sequential(
        conv_bn(3, 16, 3, nn.ReLU6(), stride=2), block(16, 16, 1, 1), block(16, 24, 2),
        block(24, 24, 1), block(24, 40, 2), block(40, 40, 1), block(40, 64, 1),
        conv_bn(64, 128, 1, nn.ReLU6()), *head(128),
    )  # fmt: skip


def mobilenet_v3() -> nn.Module:
    def block(
        inside: int, out: int, stride: int, times: int, size: int, act: type[nn.Module], gate: bool
    ) -> nn.Module:
        gates = nn.Hardsigmoid() if gate else None
        return inverted_residual(
            inside, out, stride, wide=times * inside, act=act, size=size, gate=gates
        )

    return nn.Sequential(
        conv_bn(3, 16, 3, nn.Hardswish(), stride=2), block(16, 16, 2, 1, 3, nn.ReLU, True),
        block(16, 24, 1, 4, 3, nn.ReLU, False), block(24, 24, 1, 4, 5, nn.Hardswish, True),
        block(24, 40, 2, 4, 5, nn.Hardswish, True), block(40, 40, 1, 4, 5, nn.Hardswish, True),
        conv_bn(40, 128, 1, nn.Hardswish()), nn.AdaptiveAvgPool2d(1), nn.Conv2d(128, 128, 1),
        nn.Hardswish(), nn.Flatten(1), nn.Linear(128, CLASSES),
    )  # fmt: skip


def efficientnet() -> nn.Module:
    def block(inside: int, out: int, stride: int, times: int = 4, size: int = 3) -> nn.Module:
        return inverted_residual(
            inside, out, stride, wide=times * inside, act=nn.SiLU, size=size, gate=nn.Sigmoid()
        )

    return nn.Sequential(
        conv_bn(3, 16, 3, nn.SiLU(), stride=2), block(16, 16, 1, 1), block(16, 24, 2),
        block(24, 24, 1), block(24, 40, 2, 4, 5), block(40, 40, 1, 4, 5), block(40, 64, 1),
        conv_bn(64, 128, 1, nn.SiLU()), *head(128),
    )  # fmt: skip


class Odd(nn.Module):
    """Kernels, strides, paddings and dilations that differ between the axes."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 24, (7, 5), stride=(2, 1), padding=(3, 2))
        self.b = nn.Conv2d(24, 32, (3, 2), dilation=(1, 2), padding="same")
        self.c = nn.Conv2d(32, 48, 3, padding=3, dilation=3, stride=(1, 2), groups=4, bias=False)
        self.d = nn.Conv2d(48, 64, (2, 3), stride=(2, 2), padding=1)
        self.act, self.last = nn.PReLU(32), nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.b(torch.relu(self.a(x))))
        x = nn.functional.leaky_relu(self.c(x), 0.1)
        return self.last(torch.relu(self.d(x)).mean((2, 3)))


CLASSIFIERS: dict[str, Callable[[], nn.Module]] = {
    make.__name__: make
    for make in (
        mlp, lenet, two_convolutions, vgg, alexnet, resnet, resnext, densenet, shufflenet,
        squeezenet, inception, mobilenet_v2, mobilenet_v3, efficientnet,
    )
} | {"odd_strides": Odd}  # fmt: skip
