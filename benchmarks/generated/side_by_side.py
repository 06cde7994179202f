"""Work in several processes of one thread each, with what each cell gave as it comes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

Cell = TypeVar("Cell")
Given = TypeVar("Given")


def each(
    function: Callable[[Cell], Given], cells: Iterable[Cell], processes: int = 2
) -> Iterator[tuple[Cell, Given]]:
    """Cells with what a function of a module gives for them, in the order of their ends."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_alone) as pool:
        futures = {pool.submit(function, cell): cell for cell in cells}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _alone() -> None:
    import torch

    torch.set_num_threads(1)
