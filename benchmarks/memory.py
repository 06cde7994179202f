"""Memory of one large layer in run form: AlexNet's fc6, 4096 x 9216, at 9 % density.

    python benchmarks/memory.py

Each row is measured in a fresh process: ``resident`` is what the weights take in run form,
``traced`` the peak of Python and numpy allocations while the layer runs (tracemalloc),
``growth`` how far the peak resident set size of the process rises while it runs, native
code included (Linux only).  A dense float32 copy of the layer would take 144 MiB.  The
table is also written to benchmarks/results/memory.csv.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np

from reticule.engine import Model
from reticule.forms import Codebook, Dense, Form, Packed, Sparse
from reticule.graph import Graph, Node

ROWS, COLUMNS, DENSITY, SHARED = 4096, 9216, 0.09, 16
KINDS = ("dense", "codebook16", "sparse", "sparse(codebook16)")
BATCHES = (1, 64)
RESULTS = Path(__file__).parent / "results" / "memory.csv"
MIB = 1 << 20


def form_of(kind: str) -> Form:
    rng = np.random.default_rng(0)
    table = Dense(np.linspace(-0.1, 0.1, SHARED, dtype="f4"))
    if kind == "dense":
        return Dense(rng.standard_normal((ROWS, COLUMNS), "f4"))
    if kind == "codebook16":
        return Codebook(rng.integers(0, SHARED, (ROWS, COLUMNS), "u1"), table)
    mask = rng.random((ROWS, COLUMNS), "f4") < DENSITY
    count = int(mask.sum())
    if kind == "sparse":
        return Sparse.at(mask, Dense(rng.standard_normal(count, "f4")))
    return Sparse.at(mask, Codebook(rng.integers(0, SHARED, count, "u1"), table))


def layer(form: Form) -> Model:
    node = Node("Gemm", "fc6", ("x", "w"), ("y",))
    graph = Graph({"x": form.shape[1:]}, ("y",), (node,), {"w": form.shape})
    return Model(Packed(graph, {"w": form}), threads=2)


def peak_rss(reset: bool = False) -> int:
    """Largest resident set size of this process since the last reset, in bytes (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text().splitlines()
    line = next(entry for entry in status if entry.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def measure(kind: str, batch: int) -> dict[str, object]:
    """One row of the table; to be called in a process of its own."""
    layer(Dense(np.ones((8, 8), "f4")))(np.ones((64, 8), "f4"))  # libraries start their threads
    model = layer(form_of(kind))
    x = np.ones((batch, COLUMNS), np.float32)
    before = peak_rss(reset=True)
    model(x)
    growth = peak_rss() - before
    tracemalloc.start()
    model(x)
    traced = tracemalloc.get_traced_memory()[1]
    return {
        "form": kind,
        "batch": batch,
        "resident_mib": round(model.weight_bytes / MIB, 2),
        "traced_peak_mib": round(traced / MIB, 2),
        "rss_growth_mib": round(growth / MIB, 2),
    }


def main() -> None:
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
        return
    rows = []
    print(f"{'form':20} {'batch':>5} {'resident':>10} {'traced':>10} {'growth':>10}   MiB")
    for kind in KINDS:
        for batch in BATCHES:
            command = [sys.executable, __file__, kind, str(batch)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row = json.loads(done.stdout)
            rows.append(row)
            form, images, *figures = row.values()
            print(f"{form:20} {images:5} " + " ".join(f"{f:10.2f}" for f in figures))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
