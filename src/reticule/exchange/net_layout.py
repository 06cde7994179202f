"""The layout of the ``.net`` files that came with Deep Compression.

Han, Mao and Dally ("Deep Compression", ICLR 2016) released compressed networks (AlexNet,
SqueezeNet) in a layout of their own.  All numbers are little-endian::

    uint32   entries[layers]          stored entries of each layer, fillers included
    for each layer:
      float32  codebook[2^b]          b = 8 for a convolution, 4 for a linear layer
      float32  bias[outputs]
      uint8    codes[entries * b / 8, rounded up]
      uint8    gaps[entries / 2, rounded up]

Four-bit numbers lie two in a byte, the first in the low half.  An entry is a gap (zeros
since the entry before it, 0 to 15) and a code (an index into the codebook); positions are
flat, in the order (output, input, row, column).  Longer gaps are bridged by *fillers*:
entries with gap 15 and code 0, where ``codebook[0]`` is 0.0, so that a filler stands for
sixteen zeros.

There is no header, no name, no shape and no checksum: which layers there are must be known.
They come in the order of the network's convolutions and linear layers.

>>> gaps, codes = to_entries(np.array([2, 40]), np.array([7, 9], np.uint8))
>>> gaps.tolist(), codes.tolist()
([2, 15, 15, 5], [7, 0, 0, 9])
>>> positions, codes = from_entries(gaps, codes)
>>> positions.tolist(), codes.tolist()
([2, 40], [7, 9])
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from reticule.errors import ModelError
from reticule.forms.base import Shape
from reticule.graph import Graph, Node

LONGEST_GAP = 15
STEP = LONGEST_GAP + 1  # weights that a filler stands for


@dataclass(frozen=True)
class Place:
    """A layer that a file has a record for: its node, and the names of its tensors.

    ``bias`` is "" where the network has none; ``shared`` says that other nodes use it too.
    """

    node: Node
    weight: str
    bias: str
    shared: bool
    shape: Shape

    @property
    def size(self) -> int:
        """Number of weights."""
        return prod(self.shape)

    @property
    def outputs(self) -> int:
        """Number of biases."""
        return self.shape[0]

    def record(self, entries: int, bits: int) -> tuple[int, int, int, int]:
        """Bytes of codebook, bias, codes and gaps."""
        return 4 << bits, 4 * self.outputs, (entries * bits + 7) // 8, (entries + 1) // 2


# How many bits a code has is not in the file.  The authors decided by the layer's name;
# their SqueezeNet, whose names are others, has eight everywhere.
RULES: tuple[Callable[[Place], int], ...] = (
    lambda place: 8 if place.node.op == "Conv" else 4,
    lambda place: 8,
    lambda place: 8 if "conv" in place.node.name or "conv" in place.weight else 4,
    lambda place: 4,
)


def places_of(graph: Graph) -> list[Place]:
    """The layers of a network in the order of its nodes; ModelError if there are none."""
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    places = []
    for node, weight in graph.weights():
        shape = tuple(graph.tensors[weight])
        bias = node.inputs[2] if len(node.inputs) > 2 else ""
        if bias and graph.tensors.get(bias) != shape[:1]:
            raise ModelError(f"node '{node.name}': its bias is not one number for each output")
        places.append(Place(node, weight, bias, uses[bias] > 1, shape))
    if not places:
        raise ModelError("the network has no convolution and no linear layer")
    return places


def to_entries(positions: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gaps and codes (uint8) of entries at rising flat positions, with fillers where needed."""
    if not positions.size:
        return np.zeros(0, np.uint8), np.zeros(0, np.uint8)
    gaps: np.ndarray = np.diff(positions.astype(np.int64), prepend=-1) - 1
    places = np.arange(positions.size) + np.cumsum(gaps // STEP)
    all_gaps = np.full(int(places[-1]) + 1, LONGEST_GAP, np.uint8)
    all_codes = np.zeros(all_gaps.size, np.uint8)
    all_gaps[places] = gaps % STEP
    all_codes[places] = codes
    return all_gaps, all_codes


def from_entries(gaps: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat positions (int64) and codes without fillers: inverse of :func:`to_entries`.

    Only what ``to_entries`` would put back is a filler.  A zero that was stored for no
    reason (a shorter gap, or nothing behind it) stays an entry.
    """
    positions = np.cumsum(gaps.astype(np.int64) + 1) - 1
    filler = (gaps == LONGEST_GAP) & (codes == 0)
    real = np.flatnonzero(~filler)
    filler[real[-1] + 1 if real.size else 0 :] = False
    return positions[~filler], codes[~filler]


def pack(numbers: np.ndarray, bits: int) -> bytes:
    """Numbers of 4 or 8 bits; the last half of a byte that is not needed is zero.

    >>> pack(np.array([1, 2, 3], np.uint8), 4).hex()
    '2103'
    """
    if bits == 8:
        return numbers.astype(np.uint8).tobytes()
    even = np.zeros(numbers.size + numbers.size % 2, np.uint8)
    even[: numbers.size] = numbers
    return (even[::2] | even[1::2] << 4).tobytes()


def unpack(data: bytes | memoryview, count: int, bits: int) -> np.ndarray:
    """Inverse of :func:`pack`, as uint8."""
    stored = np.frombuffer(data, np.uint8)
    if bits == 4:
        stored = np.stack([stored & 15, stored >> 4], axis=1).reshape(-1)
    return stored[:count]
