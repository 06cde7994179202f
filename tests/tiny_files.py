"""A tiny network and tiny images on disk, for tests of the commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reticule.graph import Graph, Network, Node
from reticule.graph.onnx_out import to_onnx

SIDE, CLASSES = 6, 3

RECIPE = """\
name: tiny
summary: Everything once, for one epoch.
stages:
  - method: threshold-pruning
    density: 0.5
  - method: retrain
    training: {epochs: 1, batch: 16}
  - method: weight-sharing
    conv_bits: 3
    linear_bits: 3
    smallest: 16
  - method: retrain
    training: {epochs: 1, batch: 16}
"""


def network() -> Network:
    """A convolution and a linear layer, with random weights."""
    random = np.random.default_rng(0)
    shapes = {
        "conv.weight": (4, 1, 3, 3),
        "conv.bias": (4,),
        "fc.weight": (3, 144),
        "fc.bias": (3,),
    }
    nodes = (
        Node("Conv", "conv", ("image", "conv.weight", "conv.bias"), ("a",), {"pads": (1, 1, 1, 1)}),
        Node("Relu", "relu", ("a",), ("b",)),
        Node("Flatten", "flat", ("b",), ("c",)),
        Node("Gemm", "fc", ("c", "fc.weight", "fc.bias"), ("logits",)),
    )
    graph = Graph({"image": (1, SIDE, SIDE)}, ("logits",), nodes, shapes)
    tensors = {name: random.standard_normal(s).astype("f4") / 4 for name, s in shapes.items()}
    return Network(graph, tensors).check()


def images(count: int = 60, side: int = SIDE, classes: int = CLASSES) -> dict[str, np.ndarray]:
    """Images whose class is the row that is bright."""
    random = np.random.default_rng(1)
    labels = np.arange(count) % classes
    pixels = random.integers(0, 60, (count, 1, side, side)).astype(np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[0, label] += 150
    return {"images": pixels, "labels": labels}


@dataclass(frozen=True)
class Files:
    """Paths of everything that a compression needs."""

    folder: Path
    model: str
    data: str
    recipe: str


def write(folder: Path) -> Files:
    """Write network, images and recipe."""
    files = Files(
        folder, *(str(folder / name) for name in ("tiny.onnx", "images.npz", "tiny.yaml"))
    )
    to_onnx(network(), files.model)
    np.savez(files.data, **images())
    Path(files.recipe).write_text(RECIPE, "utf-8")
    return files
