"""How much faster chunks decode on two threads than on one.

    python benchmarks/parallel.py

A network of four linear layers (4.2 million weights at about 2.4 bits) is written with each
preset and loaded with one and two threads in turn, eleven times; the figures are medians.
Writes benchmarks/results/parallel.csv.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path
from statistics import median

import numpy as np

from reticule.codec import PRESETS, About, dumps, loads
from reticule.forms import Packed, Quantised
from reticule.graph import Graph, Node

RESULTS = Path(__file__).parent / "results" / "parallel.csv"
ROUNDS = 11
SIDE = 1024


def network() -> Packed:
    """Laplacian weights whose scale differs from row to row."""
    rng = np.random.default_rng(0)
    forms, nodes, value = {}, [], "x"
    for index in range(4):
        scale = rng.lognormal(0.0, 0.5, (SIDE, 1))
        levels = np.rint(rng.laplace(0.0, 0.9, (SIDE, SIDE)) * scale).astype(np.int32)
        forms[f"w{index}"] = Quantised(levels, 0.01)
        nodes.append(Node("Gemm", f"n{index}", (value, f"w{index}"), (f"n{index}",)))
        value = f"n{index}"
    shapes = {name: form.shape for name, form in forms.items()}
    return Packed(Graph({"x": (SIDE,)}, (value,), tuple(nodes), shapes).check(), forms)


def seconds(data: bytes, threads: int) -> float:
    start = time.perf_counter()
    loads(data, threads=threads)
    return time.perf_counter() - start


def main() -> None:
    packed = network()
    weights = sum(form.size for form in packed.forms.values())
    rows = []
    for preset in PRESETS:
        data = dumps(packed, About(), preset)
        times = [(seconds(data, 1), seconds(data, 2)) for _ in range(ROUNDS)]
        one, two = (median(column) for column in zip(*times, strict=True))
        gain = median(a / b for a, b in times)
        speeds = [f"{weights / time_taken / 1e6:.2f}" for time_taken in (one, two)]
        rows.append([preset, len(data), *speeds, f"{gain:.2f}"])
        print(*rows[-1])
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        head = ["preset", "bytes_file", "million_per_s_one", "million_per_s_two", "times_faster"]
        csv.writer(file).writerows([head, *rows])


if __name__ == "__main__":
    main()
