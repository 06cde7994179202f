"""Train the networks of the generated benchmarks, and say what each is worth.

    python benchmarks/trained.py [NAME ...] [--cache FOLDER]

Networks go to FOLDER (benchmarks/files/generated) as ONNX files; the other benchmarks of generated
networks find them there, and train what is missing.  A minute or two each on one core.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from generated.cache import FOLDER, Cache, original
from generated.catalogue import PLANS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all of {', '.join(PLANS)}")
    parser.add_argument("--cache", type=Path, default=FOLDER, metavar="FOLDER")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cache = Cache(given.cache)
    for name in given.names or PLANS:
        start = time.monotonic()
        path = cache.network(name)
        taken = time.monotonic() - start
        value, _ = cache.measured(name, original(path))
        measure = PLANS[name].task.measure.__name__
        print(f"{name}: {measure} {value:.4g} on {path.name}, {taken:.0f} s", flush=True)


if __name__ == "__main__":
    main()
