"""Two well-known networks in full size, with weights by lot."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from generated.blocks import Fire, Residual, conv_bn

TEN, THOUSAND = 10, 1000
BELOW = 6.0  # standard deviations of a score
SPREAD = 0.5  # of the logarithm of a filter's scale, as trained networks have about
SHAPE = 1.0  # of a Laplace distribution's scale: small weights are more likely than large ones


def squeezenet() -> nn.Module:
    """SqueezeNet 1.0 for 227 x 227 pixels, 1.2 million weights with its thousand classes."""
    return nn.Sequential(
        nn.Conv2d(3, 96, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(96, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(256, 32, 128), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256),
        nn.MaxPool2d(3, 2, ceil_mode=True), Fire(512, 64, 256),
        nn.Conv2d(512, THOUSAND, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def resnet50() -> nn.Module:
    """ResNet-50 for 224 x 224 pixels, 25 million weights."""
    layers: list[nn.Module] = [conv_bn(3, 64, 7, nn.ReLU(), stride=2), nn.MaxPool2d(3, 2, 1)]
    inside = 64
    for number, (width, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True)):
        for block in range(blocks):
            stride = 2 if block == 0 and number else 1
            body = nn.Sequential(
                conv_bn(inside, width, 1, nn.ReLU()),
                conv_bn(width, width, 3, nn.ReLU(), stride=stride),
                conv_bn(width, 4 * width, 1),
            )
            shortcut = conv_bn(inside, 4 * width, 1, stride=stride) if block == 0 else None
            layers.append(Residual(body, shortcut))
            inside = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, THOUSAND))


@torch.no_grad()
def spread_like_trained(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights of a Laplace distribution, with a scale for each filter, in place."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            weight = part.weight
            uniform = torch.rand(weight.shape, generator=generator) - 0.5
            laplace = -uniform.sign() * torch.log1p(-2 * uniform.abs().clamp(max=0.499999))
            scale = torch.randn(len(weight), generator=generator).mul(SPREAD).exp()
            scale = scale.reshape(-1, *[1] * (weight.ndim - 1)) / (weight[0].numel() ** 0.5)
            weight.copy_(SHAPE * laplace * scale)
    return module


@torch.no_grad()
def centred(module: nn.Module, images: Tensor) -> nn.Module:
    """Batch norms with statistics of these images, and scores that differ between them.

    The last layer's bias takes away each class's mean, and puts all but ten of the classes
    below the others, so that the network's own answers are labels of ten classes.
    """
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the plain mean over all that it sees
    module.train()(images)
    module.eval()
    last = [p for p in module.modules() if isinstance(p, nn.Conv2d | nn.Linear)][-1]
    assert last.bias is not None
    scores = module(images)
    last.bias -= scores.mean(0)
    last.bias[TEN:] -= BELOW * scores.std()
    return module
