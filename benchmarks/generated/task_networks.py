"""Networks that are no classifiers, for drawn images, 3 x 32 x 32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from generated.blocks import Residual, Spread, conv_bn
from generated.sets import BOXED
from generated.shapes import KINDS


def trunk() -> list[nn.Module]:
    """From images to 24 maps of 4 x 4."""
    return [
        conv_bn(3, 16, 3, nn.ReLU(), stride=2), conv_bn(16, 32, 3, nn.ReLU(), stride=2),
        Residual(nn.Sequential(conv_bn(32, 32, 3, nn.ReLU()), conv_bn(32, 32, 3))),
        conv_bn(32, 96, 3, nn.ReLU(), stride=2), conv_bn(96, 24, 1, nn.ReLU()),
    ]  # fmt: skip


def regressor(outputs: int) -> nn.Module:
    return nn.Sequential(
        *trunk(), nn.Flatten(), nn.Linear(384, 64), nn.ReLU(), nn.Linear(64, outputs)
    )


def labeller(probabilities: bool) -> nn.Module:
    """One score for each kind of shape, on its own."""
    last = [nn.Sigmoid()] if probabilities else []
    return nn.Sequential(
        *trunk(), nn.Flatten(), nn.Linear(384, 64), nn.ReLU(), nn.Linear(64, len(KINDS)), *last
    )


class UNet(nn.Module):
    """Down twice and up again, with what was seen on the way."""

    def __init__(self, outputs: int, probabilities: bool) -> None:
        super().__init__()
        self.fine = conv_bn(3, 16, 3, nn.ReLU())
        self.middle = conv_bn(16, 32, 3, nn.ReLU(), stride=2)
        self.coarse = nn.Sequential(
            conv_bn(32, 64, 3, nn.ReLU(), stride=2), conv_bn(64, 128, 3, nn.ReLU())
        )
        self.up, self.join = Spread(), conv_bn(64, 64, 3, nn.ReLU())
        self.last = nn.Conv2d(32, outputs, 3, padding=1)
        self.probabilities = probabilities

    def forward(self, image: Tensor) -> Tensor:
        fine = self.fine(image)
        middle = self.middle(fine)
        x = self.join(torch.cat([middle, self.up(self.coarse(middle))], 1))
        x = self.last(torch.cat([fine, self.up(x)], 1))
        return torch.sigmoid(x) if self.probabilities else x


class Autoencoder(nn.Module):
    """An image through 64 numbers, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(*trunk(), nn.Flatten(), nn.Linear(384, 64))
        self.wide = nn.Sequential(nn.Linear(64, 1024), nn.ReLU())
        self.up = nn.Sequential(
            Spread(), conv_bn(16, 64, 3, nn.ReLU()), Spread(), conv_bn(16, 32, 3, nn.ReLU()),
            Spread(), nn.Conv2d(8, 3, 3, padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        x = self.wide(self.down(image))
        return self.up(x.reshape(x.size(0), 64, 4, 4))


class Detector(nn.Module):
    """Scores of kinds and a box for each of 8 x 8 cells, as detectors of faces have them."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            conv_bn(3, 24, 3, nn.PReLU(24), stride=2), conv_bn(24, 48, 3, nn.PReLU(48), stride=2),
            Residual(nn.Sequential(conv_bn(48, 48, 3, nn.LeakyReLU(0.1)), conv_bn(48, 48, 3))),
            conv_bn(48, 64, 3, nn.LeakyReLU(0.1)),
        )  # fmt: skip
        self.scores, self.boxes = nn.Conv2d(64, BOXED, 1), nn.Conv2d(64, 4, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.trunk(image)
        return self.scores(maps), self.boxes(maps)
