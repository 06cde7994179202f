"""Jobs on threads: results in order, errors where they belong, never many items at once."""

import threading
import time

import pytest

from reticule.codec.parallel import in_order

THREADS = [1, 2, 3, 8]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_results_come_in_the_order_of_the_items(threads, count):
    def job(number):
        time.sleep(0.002 * (number % 3 == 0))
        return number * number

    assert list(in_order(job, range(count), threads)) == [n * n for n in range(count)]


@pytest.mark.parametrize("threads", THREADS)
def test_items_are_taken_only_as_they_are_needed(threads):
    lock = threading.Lock()
    held = most = 0

    def items():
        nonlocal held, most
        for number in range(40):
            with lock:
                held += 1
                most = max(most, held)
            yield number

    def job(number):
        nonlocal held
        time.sleep(0.001)
        with lock:
            held -= 1
        return number

    assert list(in_order(job, items(), threads)) == list(range(40))
    assert most <= max(2, threads + 1)


@pytest.mark.parametrize("threads", THREADS)
def test_an_error_comes_where_the_result_would_be(threads):
    def job(number):
        if number == 5:
            raise KeyError(number)
        return number

    results = in_order(job, range(100), threads)
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(KeyError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
