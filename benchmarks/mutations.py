"""Ten thousand damaged and forged files against the reader.

Each must decode to a valid network or raise ReticuleError.  The work is done in a child
process whose address space is limited, so that a wild allocation ends it instead of the
machine.  Prints one line, and writes benchmarks/results/mutations.csv: for each preset and kind of
change how many files were refused, how many failed (by an unexpected error, a damaged
network, more memory than 64 MiB and 24 bytes for each declared weight, or too long a
time), the longest time, and the most memory.

    python benchmarks/mutations.py [--count 10000] [--seed 1]
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
import tracemalloc
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codec_mutations import Mutation

    from reticule.forms import Packed

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "mutations.csv"
ADDRESS_SPACE = 3 << 30
SECONDS = 5.0  # of processor time for one file


@dataclass
class Tally:
    """What happened to the files that were changed in one way."""

    files: int = 0
    refused: int = 0
    seconds: float = 0.0
    peak: int = 0
    failures: int = 0


def attack(count: int, seed: int) -> dict[tuple[str, str], Tally]:
    """Read every changed file; the tallies by preset and kind of change."""
    sys.path.insert(0, str(ROOT / "tests"))
    from codec_mutations import files_of_many_chunks, mutations

    from reticule.codec.chunks import PRESETS

    tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
    tracemalloc.start()
    for number, preset in enumerate(PRESETS):
        networks, files = files_of_many_chunks(preset)
        share = (count + len(PRESETS) - 1 - number) // len(PRESETS)
        for mutation in mutations(files, share, len(PRESETS) * seed + number):
            _read(mutation, networks, tallies[preset, mutation.kind])
    return tallies


def _read(mutation: Mutation, networks: list[Packed], tally: Tally) -> None:
    from codec_mutations import outcome

    tally.files += 1
    try:
        found = outcome(mutation, networks)
    except Exception as problem:  # whatever it is, it is what this program looks for
        tally.failures += 1
        print(f"{mutation.kind}: {type(problem).__name__}: {problem}", file=sys.stderr)
        return
    tally.refused += bool(found.problem)
    tally.failures += not (found.valid and found.within_memory and found.seconds < SECONDS)
    tally.seconds = max(tally.seconds, found.seconds)
    tally.peak = max(tally.peak, found.peak)


def report(tallies: dict[tuple[str, str], Tally]) -> int:
    """Write the table, print the summary, and say how many files failed."""
    RESULTS.parent.mkdir(exist_ok=True)
    with open(RESULTS, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["preset", "change", "files", "refused", "failures", "max_seconds", "max_peak_mib"]
        )
        for (preset, kind), tally in sorted(tallies.items()):
            peak = f"{tally.peak / 2**20:.1f}"
            seconds = f"{tally.seconds:.3f}"
            row = [preset, kind, tally.files, tally.refused, tally.failures, seconds, peak]
            writer.writerow(row)
    files = sum(tally.files for tally in tallies.values())
    refused = sum(tally.refused for tally in tallies.values())
    failures = sum(tally.failures for tally in tallies.values())
    print(
        f"{files} changed files: {refused} refused, {files - refused - failures} valid, "
        f"{failures} failures; at most {max(t.seconds for t in tallies.values()):.2f} s and "
        f"{max(t.peak for t in tallies.values()) / 2**20:.0f} MiB for one"
    )
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description="Attack the reader of .ret files.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        return 1 if report(attack(arguments.count, arguments.seed)) else 0
    command = [sys.executable, __file__, *sys.argv[1:], "--child"]
    status = subprocess.run(command, check=False).returncode
    if status not in (0, 1):
        print(f"the reader died with status {status}")
    return status


if __name__ == "__main__":
    sys.exit(main())
