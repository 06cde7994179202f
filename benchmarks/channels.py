"""Random units removed: does the smaller network compute what the masked one does?

    python benchmarks/channels.py [../shared] [--seeds N]

For each network of the tests' gallery, and for those in the folder (models/*.onnx), random units
are removed with N seeds (200), and the answers compared with those of the full network in
which nothing reads these units.  Also, all units that can are put in a random order.
Writes benchmarks/results/channels.csv: the largest difference, relative to the largest answer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from coding.table import Table, own_version

import reticule
from reticule.graph import Network
from reticule.graph.channels import reordered, trace, without

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from gallery import GALLERY
from test_channels import masked, operate, outputs, removable

COLUMNS = ("units", "removable", "seeds", "removed_mean", "worst_removed", "worst_reordered")


def networks(shared: Path | None) -> Iterator[tuple[str, Network, torch.Tensor]]:
    for name, build in GALLERY.items():
        module, example = build()
        yield name, reticule.from_torch(module, example), example
    for path in sorted((shared / "models").glob("*.onnx")) if shared else ():
        network = reticule.from_onnx(path)
        shape = next(iter(network.graph.inputs.values()))
        generator = torch.Generator().manual_seed(0)
        yield path.stem, network, torch.randn(2, *shape, generator=generator)


def difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    scale = max(float(np.abs(values).max()) for values in one)
    worst = max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))
    return worst / max(scale, 1e-30)


def measure(network: Network, example: torch.Tensor, seeds: int) -> dict[str, object]:
    channels = trace(network.graph)
    free = removable(channels)
    removed, worst, shuffled = 0, 0.0, 0.0
    full = outputs(network, example)
    for seed in range(seeds if free.size else 0):
        rng = np.random.default_rng(seed)
        units = rng.permutation(free)[: rng.integers(1, free.size + 1)]
        surgery = without(channels, units, multiple=int(rng.integers(1, 5)))
        removed += units.size
        small, large = operate(network, surgery), masked(network, channels, surgery)
        worst = max(worst, difference(outputs(large, example), outputs(small, example)))
        surgery = reordered(channels, [rng.permutation(units) for units in channels.classes])
        shuffled = max(shuffled, difference(full, outputs(operate(network, surgery), example)))
    values = (channels.count, free.size, seeds, removed / seeds, worst, shuffled)
    return dict(zip(COLUMNS, values, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, nargs="?", help="folder with models/")
    parser.add_argument("--seeds", type=int, default=200)
    given = parser.parse_args()
    table = Table("channels", ("network",), COLUMNS)
    for name, network, example in networks(given.shared):
        table.put(name, version=own_version(), **measure(network, example, given.seeds))


if __name__ == "__main__":
    main()
