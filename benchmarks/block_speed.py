"""How fast pruned networks run: by the block, by single weights, dense, and ONNX Runtime.

    python benchmarks/block_speed.py SHARED NETWORK BLOCKS.ret SINGLE.ret

One thread, batches of 1 and of 32 images, all four in turn, medians.  Rows go to
benchmarks/results/block_speed.csv: milliseconds a batch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from coding.table import Table, own_version

import reticule
from reticule.codec import load
from reticule.engine import Model
from reticule.forms import Packed

ROUNDS = 41
COLUMNS = ("milliseconds", "of_onnxruntime", "of_dense")


def rivals(given: argparse.Namespace) -> Mapping[str, Callable[[np.ndarray], Any]]:
    """What runs the network, by name."""
    path = given.shared / "models" / f"{given.network}.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    packed = {
        "dense": Packed.of(reticule.from_onnx(path)),
        "blocks": load(given.blocks).packed,
        "single weights": load(given.single).packed,
    }
    models = {title: Model(network, threads=1) for title, network in packed.items()}
    return {**models, "ONNX Runtime": lambda x: session.run(None, {name: x})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("network")
    parser.add_argument("blocks", type=Path)
    parser.add_argument("single", type=Path)
    given = parser.parse_args()
    table = Table("block_speed", ("network", "batch", "engine"), COLUMNS)
    made = rivals(given)
    (shape,) = reticule.from_onnx(
        given.shared / "models" / f"{given.network}.onnx"
    ).graph.inputs.values()
    for batch in (1, 32):
        x = np.random.default_rng(0).normal(size=(batch, *shape)).astype("f4")
        times: dict[str, list[float]] = {name: [] for name in made}
        for _ in range(ROUNDS):
            for name, run in made.items():
                start = time.perf_counter()
                run(x)
                times[name].append(1e3 * (time.perf_counter() - start))
        medians = {name: statistics.median(each) for name, each in times.items()}
        for name, each in medians.items():
            ratios = {
                "of_onnxruntime": each / medians["ONNX Runtime"],
                "of_dense": each / medians["dense"],
            }
            row = {"milliseconds": each, **ratios}
            table.put(given.network, batch, name, version=own_version(), **row)


if __name__ == "__main__":
    main()
