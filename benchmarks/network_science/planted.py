"""Planted blocks: are they found, in what time, and what do others find?"""

from __future__ import annotations

import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from rivals.grasp import Graspologic
from sklearn.metrics import adjusted_rand_score

from reticule.science import BlockModel, CoClustering, description_length

Fit = Callable[[Any, int, str], tuple[np.ndarray, np.ndarray]]
CASES = {  # kind of matrix, and the family that fits it
    "mask": "bernoulli",
    "mask, degrees paid for": "degree-corrected",
    "means": "normal",
    "variances": "normal-variance",
    "scales": "laplace",
}
LIMIT = 600.0  # seconds for another program


def planted(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """200 x 300, four blocks on both sides; density 0.3 inside and 0.05 outside."""
    rng = np.random.default_rng(seed)
    z, w = rng.integers(0, 4, 200), rng.integers(0, 4, 300)
    inside = z[:, None] == w[None]
    if kind.startswith("mask"):
        return (rng.random(inside.shape) < np.where(inside, 0.3, 0.05)).astype(float), z, w
    if kind == "means":
        return rng.normal(rng.normal(0, 1.5, (4, 4))[z][:, w], 1.0), z, w
    draw = rng.normal if kind == "variances" else rng.laplace
    return draw(0, np.where(inside, 2.0, 1.0)), z, w


def large(seed: int = 0) -> tuple[Any, np.ndarray, np.ndarray]:
    """4096 x 9216, eight blocks on both sides with densities of their own, 9 % in all."""
    rng = np.random.default_rng(seed)
    z, w = rng.integers(0, 8, 4096), rng.integers(0, 8, 9216)
    density = rng.uniform(0.03, 0.15, (8, 8))
    density *= 0.09 / density.mean()
    rows = [np.flatnonzero(rng.random(w.size) < density[block][w]) for block in z]
    ends = np.concatenate([[0], np.cumsum([row.size for row in rows])])
    columns = np.concatenate(rows)
    values = np.ones(columns.size, np.float32)
    return scipy.sparse.csr_matrix((values, columns, ends), shape=(z.size, w.size)), z, w


def ours(matrix: Any, blocks: int, family: str) -> tuple[np.ndarray, np.ndarray]:
    model = BlockModel(family).fit(matrix)
    return model.row_labels_, model.column_labels_


def coclustering(matrix: Any, blocks: int, family: str) -> tuple[np.ndarray, np.ndarray]:
    model = CoClustering("coclustering", blocks=blocks).fit(matrix)
    return model.row_labels_, model.column_labels_


def checkerboard(matrix: Any, blocks: int, family: str) -> tuple[np.ndarray, np.ndarray]:
    model = CoClustering("checkerboard", blocks=blocks).fit(matrix)
    return model.row_labels_, model.column_labels_


def sparsebm(matrix: Any, blocks: int, family: str) -> tuple[np.ndarray, np.ndarray]:
    """Told the number of blocks; its own settings."""
    from sparsebm import LBM

    model = LBM(blocks, blocks, verbosity=0)
    model.fit(scipy.sparse.coo_matrix(matrix, dtype=int))
    return model.row_labels, model.column_labels


RIVALS: dict[str, Fit] = {
    "reticule": ours,
    "scikit-learn co-clustering": coclustering,
    "scikit-learn biclustering": checkerboard,
    "sparsebm": sparsebm,
}


FOUND_BY_GRASPOLOGIC = {"graspologic": False, "graspologic, number by BIC": True}
"""In an environment of its own; does it have to find the number of blocks?"""
FIND = {"reticule", "graspologic, number by BIC"}


@dataclass(frozen=True)
class Found:
    """Labels, seconds, and GiB at the peak of the process."""

    rows: np.ndarray
    columns: np.ndarray
    seconds: float
    gib: float


def measured(
    fit: Fit, matrix: Any, z: np.ndarray, w: np.ndarray, family: str, limit: float
) -> dict[str, object]:
    """One fit in a process of its own, which may take ``limit`` seconds."""
    here, there = multiprocessing.Pipe(duplex=False)
    blocks = int(z.max()) + 1
    process = multiprocessing.Process(target=_child, args=(there, fit, matrix, blocks, family))
    process.start()
    found = here.poll(limit)
    answer = here.recv() if found else None
    process.kill()
    process.join()
    if answer is None or isinstance(answer, str):
        return {"seconds": limit if not found else "", "problem": answer or "stopped"}
    return scored(answer, matrix, z, w, family)


def by_graspologic(
    python: str, find: bool, matrix: Any, z: np.ndarray, w: np.ndarray, family: str, limit: float
) -> dict[str, object]:
    """The same by graspologic; a process for each fit, so that its memory is this fit's."""
    try:
        rival = Graspologic(python)
    except RuntimeError as problem:
        raise SystemExit(str(problem)) from None
    try:
        blocks = None if find else int(z.max()) + 1
        found = Found(*rival.fit(matrix, blocks, family == "normal", limit))
    except TimeoutError:
        return {"seconds": limit, "problem": "stopped"}
    except RuntimeError as problem:
        return {"seconds": "", "problem": str(problem)}
    finally:
        rival.close()
    return scored(found, matrix, z, w, family)


def scored(found: Found, matrix: Any, z: np.ndarray, w: np.ndarray, family: str) -> dict[str, Any]:
    return {
        "blocks_rows": len(set(found.rows.tolist())),
        "blocks_columns": len(set(found.columns.tolist())),
        "rand_rows": adjusted_rand_score(z, found.rows),
        "rand_columns": adjusted_rand_score(w, found.columns),
        "bits": description_length(matrix, found.rows, found.columns, family),
        "bits_planted": description_length(matrix, z, w, family),
        "seconds": found.seconds,
        "gib": found.gib,
    }


def _child(pipe: Any, fit: Fit, matrix: Any, blocks: int, family: str) -> None:
    os.chdir(tempfile.gettempdir())  # sparsebm leaves a log where it runs
    start = time.monotonic()
    try:
        rows, columns = fit(matrix, blocks, family)
    except Exception as problem:
        pipe.send(f"{type(problem).__name__}: {problem}"[:100])
        return
    seconds = time.monotonic() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    pipe.send(Found(np.asarray(rows), np.asarray(columns), seconds, memory))
