"""Work on several threads whose results do not tell how many there were.

Native code and numpy let other threads run while they work, so threads are enough.

>>> list(in_order(str, range(5), threads=3))
['0', '1', '2', '3', '4']
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def in_order(
    job: Callable[[Item], Done], items: Iterable[Item], threads: int | None = None
) -> Iterator[Done]:
    """What ``job`` makes of each item, in the order of the items.

    ``items`` are taken one by one by the caller's thread, and never more than one ahead of the
    jobs at work, so that no more are in memory at once than there are ``threads`` (None: one
    for each processor), and one.  An error of a job is raised where its result would be.
    """
    count = processors() if threads is None else max(1, threads)
    if count == 1:
        yield from map(job, items)
        return
    under_way: deque[Future[Done]] = deque()
    with ThreadPoolExecutor(count) as pool:  # starts no thread before there is work
        try:
            for item in items:
                under_way.append(pool.submit(job, item))
                del item  # or it would stay while the next is made
                if len(under_way) > count:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
