"""Time and memory of compressing a network of 25 million weights without images.

    python benchmarks/large.py

The network has the shapes of ResNet-50 and random weights of a trained network's spread.  Each
row is one run of ``reticule compress`` in a process of its own: ``seconds`` of the whole command,
``cpu_seconds`` of all its threads, ``peak_mib`` its largest resident set (Linux), ``above_mib``
how much of that is above the same command for a network of a few weights.  ``load`` is how many
processes wanted a processor before it began: the figures are those of an idle machine only where
it is near 0.  Writes benchmarks/results/large.csv.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from reticule.graph import Graph, Network, Node
from reticule.graph.onnx_out import to_onnx
from reticule.graph.shapes import Attribute

STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # blocks and width of each stage of ResNet-50
IMAGE, CLASSES = 224, 1000
RUNS = (("lossless", "instant"), ("lossless", "small"), ("post-training", "small"))
RESULTS = Path(__file__).parent / "results" / "large.csv"


class Builder:
    """Nodes and weights of a network of convolutions, one after the other."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[Node] = []
        self.tensors: dict[str, np.ndarray] = {}

    def node(self, op: str, inputs: tuple[str, ...], **attributes: Attribute) -> str:
        """Another operator; the name of its value."""
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(Node(op, name, inputs, (name,), attributes))
        return name

    def weight(self, shape: tuple[int, ...]) -> str:
        """Normal weights; rows differ in scale as those of trained networks do."""
        spread = (2 / np.prod(shape[1:])) ** 0.5 * self.rng.lognormal(-0.7, 0.3, shape[0])
        values = self.rng.standard_normal((shape[0], int(np.prod(shape[1:]))), np.float32)
        values *= spread[:, None].astype(np.float32)
        return self.keep(values.reshape(shape))

    def keep(self, values: np.ndarray) -> str:
        """A tensor; its name."""
        name = f"tensor{len(self.tensors)}"
        self.tensors[name] = values
        return name

    def conv(
        self, x: str, into: int, out: int, side: int, stride: int = 1, relu: bool = True
    ) -> str:
        """A convolution and its batch norm."""
        pad = side // 2
        weight = self.weight((out, into, side, side))
        x = self.node("Conv", (x, weight), strides=(stride, stride), pads=(pad,) * 4)
        scales = [
            self.rng.normal(mean, width, out).astype(np.float32)
            for mean, width in ((1, 0.2), (0, 0.2), (0, 0.3))
        ]
        variance = self.rng.lognormal(0, 0.3, out).astype(np.float32)
        x = self.node("BatchNormalization", (x, *map(self.keep, (*scales, variance))))
        return self.node("Relu", (x,)) if relu else x


def resnet50() -> Network:
    """The shapes of ResNet-50 (25.5 million weights) with random weights."""
    made = Builder()
    window = {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
    x = made.node("MaxPool", (made.conv("image", 3, 64, 7, 2),), **window)
    into = 64
    for stage, (blocks, width) in enumerate(STAGES):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = made.conv(x, into, width, 1)
            y = made.conv(y, width, width, 3, stride)
            y = made.conv(y, width, 4 * width, 1, relu=False)
            if not block:
                x = made.conv(x, into, 4 * width, 1, stride, relu=False)
            x = made.node("Relu", (made.node("Add", (x, y)),))
            into = 4 * width
    x = made.node("Flatten", (made.node("GlobalAveragePool", (x,)),))
    fc = made.weight((CLASSES, into)), made.keep(np.zeros(CLASSES, np.float32))
    y = made.node("Gemm", (x, *fc))
    shapes = {name: tensor.shape for name, tensor in made.tensors.items()}
    graph = Graph({"image": (3, IMAGE, IMAGE)}, (y,), tuple(made.nodes), shapes)
    return Network(graph, made.tensors).check()


def small() -> Network:
    """A network of a few weights."""
    made = Builder()
    y = made.node("GlobalAveragePool", (made.conv("image", 3, 4, 3),))
    shapes = {name: tensor.shape for name, tensor in made.tensors.items()}
    return Network(Graph({"image": (3, 8, 8)}, (y,), tuple(made.nodes), shapes), made.tensors)


def measured(command: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of all processors, and MiB at the peak, of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)}: failed")
    seconds = time.perf_counter() - start
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    if len(sys.argv) == 3:
        to_onnx(resnet50(), sys.argv[1])
        to_onnx(small(), sys.argv[2])
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model, tiny = Path(folder) / "large.onnx", Path(folder) / "small.onnx"
        packed = Path(folder) / "large.ret"
        # Not in this process: the peak of a child is never below what its parent holds.
        subprocess.run([sys.executable, __file__, str(model), str(tiny)], check=True)
        for recipe, preset in RUNS:
            options = ["-o", str(packed), "--recipe", recipe, "--preset", preset]
            command = [sys.executable, "-m", "reticule", "compress"]
            bare = measured([*command, str(tiny), *options])[2]
            load = os.getloadavg()[0]
            seconds, cpu, peak = measured([*command, str(model), *options])
            rows.append(
                {
                    "recipe": recipe,
                    "preset": preset,
                    "bytes_file": packed.stat().st_size,
                    "seconds": round(seconds, 1),
                    "cpu_seconds": round(cpu, 1),
                    "peak_mib": round(peak),
                    "above_mib": round(peak - bare),
                    "processors": len(os.sched_getaffinity(0)),
                    "load": round(load, 1),
                }
            )
            print(*rows[-1].values(), flush=True)
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
