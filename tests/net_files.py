"""Deep Compression's ``.net`` files by the letter of their layout, entry by entry.

Written without the product's code, as the oracle for it: one list of entries after the
other, in plain Python.  Also the layer tables of networks in this layout.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from reticule.graph import Graph, Network, Node

Entry = tuple[int, int]  # gap, code


@dataclass(frozen=True)
class Record:
    """One layer of a file."""

    bits: int
    codebook: Sequence[float]
    bias: Sequence[float]
    entries: Sequence[Entry]


def net_bytes(records: Iterable[Record]) -> bytes:
    """The bytes of a file."""
    records = list(records)
    out = b"".join(struct.pack("<I", len(record.entries)) for record in records)
    for record in records:
        assert len(record.codebook) == 1 << record.bits
        out += struct.pack(f"<{len(record.codebook)}f", *record.codebook)
        out += struct.pack(f"<{len(record.bias)}f", *record.bias)
        codes = [code for _, code in record.entries]
        out += bytes(codes) if record.bits == 8 else nibbles(codes)
        out += nibbles([gap for gap, _ in record.entries])
    return out


def nibbles(numbers: Sequence[int]) -> bytes:
    padded = [*numbers, 0][: len(numbers) + len(numbers) % 2]
    return bytes(low + 16 * high for low, high in zip(padded[::2], padded[1::2], strict=True))


def entries_of(weights: Iterable[int]) -> list[Entry]:
    """Entries of codes in C order, where 0 is not stored."""
    entries, zeros = [], 0
    for code in weights:
        if code == 0:
            zeros += 1
            continue
        while zeros > 15:
            entries.append((15, 0))
            zeros -= 16
        entries.append((zeros, code))
        zeros = 0
    return entries


def decoded(data: bytes, layers: Sequence[tuple[Sequence[int], int]]) -> list[np.ndarray]:
    """Weights and biases in turn, for layers given by shape and bits."""
    counts = np.frombuffer(data, "<u4", len(layers))
    at, found = 4 * len(layers), []
    for count, (shape, bits) in zip(counts.tolist(), layers, strict=True):
        table = np.frombuffer(data, "<f4", 1 << bits, at)
        at += 4 << bits
        bias = np.frombuffer(data, "<f4", shape[0], at)
        at += 4 * shape[0]
        numbers = []
        for width in (bits, 4):
            size = -(-count * width // 8)
            raw = np.frombuffer(data, np.uint8, size, at)
            at += size
            if width == 4:
                raw = np.array([half for byte in raw for half in (byte % 16, byte // 16)], np.uint8)
            numbers.append(raw[:count].astype(np.int64))
        codes = np.zeros(prod(shape), np.int64)
        codes[np.cumsum(numbers[1] + 1) - 1] = numbers[0]
        found += [table[codes].reshape(shape), bias]
    assert at == len(data)
    return found


@dataclass
class Table:
    """A network without weights worth mentioning, layer by layer."""

    shape: tuple[int, ...]
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def layer(self, op: str, name: str, x: str, *shape: int, **attributes: object) -> str:
        """A convolution or linear layer with a bias, and a ReLU behind it."""
        self.weights |= {f"{name}_w": shape, f"{name}_b": shape[:1]}
        inputs = (x, f"{name}_w", f"{name}_b")
        self.nodes.append(Node(op, name, inputs, (f"{name}_y",), attributes))
        return self.node("Relu", f"{name}_relu", f"{name}_y")

    def node(self, op: str, name: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(Node(op, name, inputs, (name,), attributes))
        return name

    def network(self, output: str, seed: int = 0) -> Network:
        rng = np.random.default_rng(seed)
        graph = Graph({"data": self.shape}, (output,), tuple(self.nodes), self.weights)
        tensors = {
            name: rng.standard_normal(shape).astype("f4") / 8
            for name, shape in self.weights.items()
        }
        return Network(graph, tensors).check()

    @property
    def layers(self) -> list[tuple[tuple[int, ...], int]]:
        """Shape and bits of each layer."""
        return [
            (self.weights[node.inputs[1]], 8 if node.op == "Conv" else 4)
            for node in self.nodes
            if node.op in ("Conv", "Gemm")
        ]


def squeezenet(part: int = 1) -> tuple[Table, str]:
    """SqueezeNet 1.0 (Iandola et al., 2016), with one of ``part`` channels."""
    table = Table((3, 227, 227))
    window = {"kernel_shape": (3, 3), "strides": (2, 2)}
    channels = 96 // part
    x = table.layer("Conv", "conv1", "data", channels, 3, 7, 7, strides=(2, 2))
    x = table.node("MaxPool", "pool1", x, **window)
    for number in range(2, 10):
        squeezed, expanded = 16 * (number // 2) // part, 64 * (number // 2) // part
        name = f"fire{number}"
        x = table.layer("Conv", f"{name}/squeeze1x1", x, squeezed, channels, 1, 1)
        one = table.layer("Conv", f"{name}/expand1x1", x, expanded, squeezed, 1, 1)
        pads = (1, 1, 1, 1)
        two = table.layer("Conv", f"{name}/expand3x3", x, expanded, squeezed, 3, 3, pads=pads)
        x = table.node("Concat", f"{name}/concat", one, two, axis=1)
        channels = 2 * expanded
        if number in (4, 8):
            x = table.node("MaxPool", f"pool{number}", x, **window)
    x = table.layer("Conv", "conv10", x, 1000 // part, channels, 1, 1)
    return table, table.node("GlobalAveragePool", "pool10", x)


def alexnet() -> tuple[Table, str]:
    """The layers of AlexNet, made small: a convolution in groups, and linear layers."""
    table = Table((3, 16, 16))
    x = table.layer("Conv", "conv1", "data", 8, 3, 5, 5, strides=(2, 2))
    x = table.layer("Conv", "conv2", x, 12, 4, 3, 3, pads=(1, 1, 1, 1), group=2)
    x = table.node("MaxPool", "pool2", x, kernel_shape=(2, 2), strides=(2, 2))
    x = table.node("Flatten", "flat", x)
    x = table.layer("Gemm", "fc6", x, 40, 12 * 3 * 3)
    x = table.layer("Gemm", "fc7", x, 33, 40)
    return table, table.layer("Gemm", "fc8", x, 10, 33)


def records(table: Table, seed: int = 0, density: float = 0.33) -> list[Record]:
    """Random layers: codebooks in no order, biases, and so many of all weights."""
    rng = np.random.default_rng(seed)
    found = []
    for shape, bits in table.layers:
        size, room = prod(shape), 1 << bits
        codes = np.where(rng.random(size) < density, rng.integers(1, room, size), 0)
        codebook = np.concatenate([[0.0], rng.standard_normal(room - 1)]).astype("f4")
        bias = rng.standard_normal(shape[0]).astype("f4")
        found.append(Record(bits, codebook.tolist(), bias.tolist(), entries_of(codes.tolist())))
    return found
