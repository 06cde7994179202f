"""Small untrained networks that between them use every operator, in plain PyTorch.

``GALLERY`` maps a name to a function that builds the module, in evaluation mode and the
same at every call, and an example input batch.  Whatever reads, stores or runs networks is
tested against what PyTorch computes for them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from generated.blocks import (
    Dense,
    Fire,
    Inception,
    OptionA,
    Residual,
    Shuffle,
    Spread,
    SqueezeExcite,
    conv_bn,
)
from torch import Tensor, nn

Entry = tuple[nn.Module, Tensor]
GALLERY: dict[str, Callable[[], Entry]] = {}


def entry(*shape: int, batch: int = 2) -> Callable[[Callable[[], nn.Module]], Callable[[], Entry]]:
    """Enter a function that makes a module, with the shape of its input."""

    def enter(make: Callable[[], nn.Module]) -> Callable[[], Entry]:
        def build() -> Entry:
            generator = torch.Generator().manual_seed(7)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1)
                module = make().eval()
            randomise(module, generator)
            return module, torch.randn(batch, *shape, generator=generator)

        GALLERY[make.__name__] = build
        return build

    return enter


def randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Give batch norms statistics that matter, and weights that keep activations near one."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.5, generator=generator)
                part.running_var.uniform_(0.5, 2, generator=generator)
                if part.affine:
                    part.weight.uniform_(0.5, 1.5, generator=generator)
                    part.bias.normal_(0, 0.3, generator=generator)
            elif isinstance(part, nn.Conv2d | nn.Linear):
                fan_in = part.weight[0].numel()
                part.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)


@entry(1, 28, 28)
def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.MaxPool2d(2), nn.Conv2d(6, 8, 5), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(128, 30), nn.ReLU(), nn.Linear(30, 10),
    )  # fmt: skip


class Mlp(nn.Module):
    """No images at all; every smooth activation; a batch norm of vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(12, 16), nn.BatchNorm1d(16)
        self.second, self.drop = nn.Linear(16, 16), nn.Dropout(0.5)
        self.prelu, self.last = nn.PReLU(16), nn.Linear(16, 5)

    def forward(self, features: Tensor) -> Tensor:
        x = F.elu(self.norm(self.first(features)), alpha=0.7)
        x = self.drop(torch.tanh(self.second(x)) + F.leaky_relu(x, 0.2))
        return F.log_softmax(self.last(self.prelu(x)), dim=1)


@entry(12)
def mlp() -> nn.Module:
    return Mlp()


@entry(3, 17, 17)
def mobilenet_v2() -> nn.Module:
    def block(inside: int, out: int, stride: int) -> nn.Module:
        wide = inside * 3
        body = nn.Sequential(
            conv_bn(inside, wide, 1, nn.ReLU6()),
            conv_bn(wide, wide, 3, nn.ReLU6(inplace=True), stride=stride, groups=wide),
            conv_bn(wide, out, 1),
        )
        return Residual(body, act=False) if stride == 1 and inside == out else body

    return nn.Sequential(
        conv_bn(3, 8, 3, nn.ReLU6(), stride=2), block(8, 8, 1), block(8, 12, 2), block(12, 12, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(12, 10),
    )  # fmt: skip


@entry(3, 16, 16)
def mobilenet_v3() -> nn.Module:
    body = nn.Sequential(
        conv_bn(8, 24, 1, nn.Hardswish()),
        conv_bn(24, 24, 5, nn.Hardswish(inplace=True), groups=24),
        SqueezeExcite(24, nn.Hardsigmoid()),
        conv_bn(24, 8, 1),
    )
    return nn.Sequential(
        conv_bn(3, 8, 3, nn.Hardswish(), stride=2), Residual(body, act=False),
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 20, 1), nn.Hardswish(), nn.Flatten(1),
        nn.Linear(20, 10),
    )  # fmt: skip


@entry(3, 16, 16)
def efficientnet() -> nn.Module:
    body = nn.Sequential(
        conv_bn(8, 16, 1, nn.SiLU()),
        conv_bn(16, 16, 3, nn.SiLU(inplace=True), groups=16),
        SqueezeExcite(16, nn.Sigmoid()),
        conv_bn(16, 8, 1),
    )
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(
        conv_bn(3, 8, 3, nn.SiLU(), stride=2), Residual(body, act=False), pool, nn.Linear(8, 10)
    )


@entry(3, 16, 16)
def resnet_bottleneck() -> nn.Module:
    body = nn.Sequential(
        conv_bn(16, 6, 1, nn.ReLU()), conv_bn(6, 6, 3, nn.ReLU(), stride=2), conv_bn(6, 24, 1)
    )
    again = nn.Sequential(
        conv_bn(24, 6, 1, nn.ReLU()), conv_bn(6, 6, 3, nn.ReLU()), conv_bn(6, 24, 1)
    )
    return nn.Sequential(
        conv_bn(3, 16, 7, nn.ReLU(), stride=2), Residual(body, conv_bn(16, 24, 1, stride=2)),
        Residual(again), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10),
    )  # fmt: skip


@entry(3, 16, 16)
def resnext() -> nn.Module:
    body = nn.Sequential(
        conv_bn(8, 16, 1, nn.ReLU()), conv_bn(16, 16, 3, nn.ReLU(), groups=4, stride=2),
        conv_bn(16, 12, 1),
    )  # fmt: skip
    shortcut = conv_bn(8, 12, 1, stride=2)
    return nn.Sequential(
        conv_bn(3, 8, 3, nn.ReLU()), nn.MaxPool2d(3, 2, 1), Residual(body, shortcut),
        nn.AvgPool2d(4), nn.Flatten(), nn.Linear(12, 10),
    )  # fmt: skip


@entry(3, 16, 16)
def resnet_option_a() -> nn.Module:
    def block(inside: int, out: int, stride: int, join: bool = False) -> nn.Module:
        body = nn.Sequential(
            conv_bn(inside, out, 3, nn.ReLU(), stride=stride), conv_bn(out, out, 3)
        )
        return Residual(body, OptionA((out - inside) // 2, join) if stride > 1 else None)

    return nn.Sequential(
        conv_bn(3, 4, 3, nn.ReLU()), block(4, 4, 1), block(4, 8, 2), block(8, 16, 2, join=True),
        nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


@entry(3, 16, 16)
def densenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), Dense(6, 4, 3), nn.BatchNorm2d(18), nn.ReLU(),
        nn.Conv2d(18, 8, 1), nn.AvgPool2d(2, 2), Dense(8, 4, 2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


@entry(3, 16, 16)
def shufflenet() -> nn.Module:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(12, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.mean([2, 3]))

    return nn.Sequential(
        conv_bn(3, 12, 3, nn.ReLU(), stride=2), Shuffle(12, False), Shuffle(12, True), Head()
    )


@entry(3, 30, 30)
def squeezenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, ceil_mode=True), Fire(8, 4, 6),
        nn.MaxPool2d(3, stride=2, ceil_mode=True), Fire(12, 4, 8),
        nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
        nn.Dropout(), nn.Conv2d(16, 10, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
    )  # fmt: skip


@entry(3, 15, 15)
def inception() -> nn.Module:
    return nn.Sequential(
        conv_bn(3, 6, 3, nn.ReLU(), stride=2), Inception(6), Inception(12),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    )  # fmt: skip


class AlexNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 5, stride=2, padding=2), nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5, alpha=0.1, beta=0.75, k=2.0), nn.MaxPool2d(3, 2),
            nn.Conv2d(12, 16, 3, padding=1, groups=2), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d((3, 2))
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(96, 24), nn.ReLU(inplace=True), nn.Linear(24, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


@entry(3, 26, 26)
def alexnet() -> nn.Module:
    return AlexNet()


@entry(3, 16, 16)
def vgg() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(192, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 10),
    )  # fmt: skip


@entry(3, 14, 14)
def two_convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    )  # fmt: skip


class UNet(nn.Module):
    """Down and up again, with what was seen on the way; one probability for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = conv_bn(3, 6, 3, nn.ReLU()), conv_bn(6, 16, 3, nn.ReLU(), stride=2)
        self.up, self.last = Spread(), nn.Conv2d(10, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.fine(image)
        return torch.sigmoid(self.last(torch.cat([fine, self.up(self.coarse(fine))], 1)))


@entry(3, 12, 12)
def unet() -> nn.Module:
    return UNet()


class FaceDetector(nn.Module):
    """Scores and boxes for each cell, each with a slope of its own for what is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            conv_bn(3, 8, 3, nn.PReLU(8), stride=2), conv_bn(8, 8, 3, nn.PReLU(8), groups=8),
            conv_bn(8, 16, 1, nn.LeakyReLU(0.1)), nn.MaxPool2d(2),
        )  # fmt: skip
        self.scores, self.boxes = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 8, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.trunk(image)
        n = image.size(0)
        scores = self.scores(maps).permute(0, 2, 3, 1).reshape(n, -1, 2)
        return F.softmax(scores, -1), self.boxes(maps).permute(0, 2, 3, 1).reshape(n, -1, 4)


@entry(3, 16, 16)
def face_detector() -> nn.Module:
    return FaceDetector()


class SeveralOutputs(nn.Module):
    """Two heads and the maps before them, in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8, 3, nn.ReLU(), stride=2)
        self.classes, self.box = nn.Linear(8, 10), nn.Linear(8, 4)

    def forward(self, image: Tensor) -> dict[str, Tensor | None]:
        maps = self.stem(image)
        pooled = maps.mean(dim=(2, 3), keepdim=True).squeeze(-1).squeeze(-1)
        box = torch.sigmoid(self.box(pooled))
        classes = self.classes(pooled)
        return {"classes": classes, "box": box, "maps": maps, "again": maps, "auxiliary": None}


@entry(3, 12, 12)
def several_outputs() -> nn.Module:
    return SeveralOutputs()


class Binarised(nn.Module):
    """Hidden activations that are signs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(2, 5, 3), nn.Linear(5 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.sign(self.conv(x)).flatten(1))


@entry(2, 6, 6)
def binarised() -> nn.Module:
    return Binarised()


class Odd(nn.Module):
    """Kernels, strides, paddings and dilations that differ between the axes."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 5, (7, 5), stride=(2, 1), padding=(3, 2))
        self.b = nn.Conv2d(5, 6, (3, 2), dilation=(1, 2), padding="same")
        self.c = nn.Conv2d(6, 7, 3, padding=2, dilation=2, groups=1, bias=False)
        self.d = nn.Conv2d(7, 4, (2, 3), stride=(1, 2), padding=1, padding_mode="reflect")
        self.act = nn.PReLU(4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.relu(self.a(x)), (3, 2), stride=(1, 2), padding=(1, 0))
        x = F.pad(F.leaky_relu(self.b(x)), (1, 0, 2, 1), mode="replicate")
        x = F.max_pool2d(self.c(x), 2, stride=1, dilation=(2, 1))
        x = self.act(self.d(F.pad(x, (-1, 0, 0, -1))))
        return F.softmax(x.permute(0, 2, 3, 1).reshape(x.size(0), -1), dim=-1)


@entry(1, 13, 9, batch=3)
def odd_sizes() -> nn.Module:
    return Odd()


class Arithmetic(nn.Module):
    """Numbers, parameters and values combined by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 8).view(8, 1, 1))
        self.matrix = nn.Parameter(torch.randn(8, 6) / 3)
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3]))

    def forward(self, x: Tensor) -> Tensor:
        x = (2 * x - 0.5) - self.mean.view(1, 3, 1, 1)
        x = self.conv(x / 1.5).clamp(-2, 3) * self.scale
        y, z, _ = torch.split(x, [3, 3, 2], dim=1)
        x = torch.cat([y * z, 1 - y, torch.add(z[:, :2], y[:, 1:], alpha=-0.5)], 1)
        attention = torch.softmax(x.flatten(2) @ x.flatten(2).transpose(1, 2), dim=2)
        pooled = (attention @ x.flatten(2)).mean(2) / (x.amax((2, 3)).pow(2) + 1)
        return torch.stack([pooled[:, 0], pooled[:, 1]], 1) + (pooled @ self.matrix)[:, 2:4]


@entry(3, 9, 9)
def arithmetic() -> nn.Module:
    return Arithmetic()


class Tied(nn.Module):
    """One convolution used twice, two layers with one weight, and a norm without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.second.weight = self.first.weight
        self.stem, self.norm = nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4, affine=False)
        self.head = nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        x = torch.tanh(self.second(self.first(torch.relu(self.first(x)))))
        return self.head(F.hardtanh(x).sum((2, 3)) / 9)


@entry(2, 8, 6)
def tied() -> nn.Module:
    return Tied()
