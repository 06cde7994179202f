"""The blocks that well-known convolutional networks are made of, in plain PyTorch.

Several do what they do in an older or newer way of writing it, as published code does.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn(inside: int, out: int, size: Any = 3, act: nn.Module | None = None, **more: Any):
    """A convolution without bias that keeps the image's size, batch norm, and an activation."""
    padding = more.pop("padding", None)
    padding = size // 2 if padding is None else padding
    conv = nn.Conv2d(inside, out, size, padding=padding, bias=False, **more)
    return nn.Sequential(conv, nn.BatchNorm2d(out), *([act] if act else []))


class Residual(nn.Module):
    """A block around a shortcut, which is the identity where shapes allow it."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, act: bool = True):
        super().__init__()
        self.body, self.shortcut, self.act = body, shortcut, act

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.shortcut is None else self.shortcut(x)
        out = self.body(x)
        out += skip
        return F.relu(out, inplace=True) if self.act else out


class OptionA(nn.Module):
    """The shortcut without parameters: every second pixel, and zeros for new channels."""

    def __init__(self, extra: int, join: bool) -> None:
        super().__init__()
        self.extra, self.join = extra, join

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, ::2, ::2]
        if self.join:
            n, _, h, w = x.shape
            return torch.cat([x, torch.zeros(n, 2 * self.extra, h, w)], 1)
        return F.pad(x, (0, 0, 0, 0, self.extra, self.extra), "constant", 0)


class SqueezeExcite(nn.Module):
    """Channel attention, with the gate expanded by hand as older code does."""

    def __init__(self, channels: int, gate: nn.Module, squeezed: int = 4) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, squeezed), nn.Linear(squeezed, channels)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        y = F.adaptive_avg_pool2d(x, 1).view(b, c)
        y = self.gate(self.up(F.relu(self.down(y)))).view(b, c, 1, 1)
        return x * y.expand_as(x)


def inverted_residual(
    inside: int,
    out: int,
    stride: int,
    *,
    wide: int,
    act: type[nn.Module],
    size: int = 3,
    gate: nn.Module | None = None,
) -> nn.Module:
    """Narrow to wide, each channel by itself, a gate maybe, and narrow again."""
    attention = [] if gate is None else [SqueezeExcite(wide, gate, max(4, wide // 4))]
    body = nn.Sequential(
        conv_bn(inside, wide, 1, act()),
        conv_bn(wide, wide, size, act(), stride=stride, groups=wide),
        *attention,
        conv_bn(wide, out, 1),
    )
    return Residual(body, act=False) if stride == 1 and inside == out else body


class Dense(nn.Module):
    """Layers that see all maps before them, normalised before they are convolved."""

    def __init__(self, channels: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(channels + i * growth), nn.ReLU(),
                nn.Conv2d(channels + i * growth, growth, 3, padding=1, bias=False),
            )
            for i in range(layers)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(layer(torch.cat(maps, 1)))
        return torch.cat(maps, dim=1)


class Shuffle(nn.Module):
    """Half of the channels pass, half are convolved, then all are interleaved."""

    def __init__(self, channels: int, builtin: bool) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            conv_bn(half, half, 1, nn.ReLU()), conv_bn(half, half, 3, groups=half),
            conv_bn(half, half, 1, nn.ReLU()),
        )  # fmt: skip
        self.builtin = builtin

    def forward(self, x: Tensor) -> Tensor:
        passing, through = x.chunk(2, dim=1)
        x = torch.cat((passing, self.branch(through)), 1)
        if self.builtin:
            return F.channel_shuffle(x, 2)
        n, c, h, w = x.size()
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class Fire(nn.Module):
    """Few channels, then many again by small and large kernels side by side."""

    def __init__(self, inside: int, squeeze: int, out: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inside, squeeze, 1)
        self.one, self.three = nn.Conv2d(squeeze, out, 1), nn.Conv2d(squeeze, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)


class Inception(nn.Module):
    """Branches of one pixel, of a row and a column, and of a mean, side by side."""

    def __init__(self, inside: int, one: int = 4, seven: int = 5, pooled: int = 3) -> None:
        super().__init__()
        self.one = conv_bn(inside, one, 1, nn.ReLU())
        self.seven = nn.Sequential(
            conv_bn(inside, one, (1, 7), nn.ReLU(), padding=(0, 3)),
            conv_bn(one, seven, (7, 1), nn.ReLU(), padding=(3, 0)),
        )
        self.pool = conv_bn(inside, pooled, 1, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        padded = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        return torch.cat([self.one(x), self.seven(padded), self.pool(pooled)], 1)


class Spread(nn.Module):
    """Twice the height and width, from channels: what PixelShuffle does, by hand."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.size()
        x = x.reshape(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3)
        return x.reshape(n, c // 4, 2 * h, 2 * w)
