"""Work in several processes: in order, errors across, nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from core.config.errors import FailedError, InputError
from core.data.workers import in_order, processes


def make_squares(offset: int) -> Callable[[int], int]:
    def square(number: int) -> int:
        if number == 13:
            raise InputError("no thirteen", kind="unlucky", remedies=("count on",))
        if number == 14:
            raise ZeroDivisionError
        if number == 15:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number + offset

    return square


def test_results_come_in_the_order_of_the_tasks() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(1, 12):
            taken.append(number)
            yield number

    results = []
    for result in in_order(make_squares, (5,), tasks(), 2):
        results.append(result)
        assert len(taken) - len(results) <= 6  # nobody runs far ahead
    assert results == [number * number + 5 for number in range(1, 12)]


@pytest.mark.parametrize(
    ("task", "error", "words"),
    [(13, InputError, "no thirteen"), (14, FailedError, "ZeroDivision"),
     (15, FailedError, "was killed")],
)  # fmt: skip
def test_what_goes_wrong_there_is_raised_here(
    task: int, error: type[Exception], words: str
) -> None:
    results = in_order(make_squares, (0,), iter([1, task, 2]), 1)
    assert next(results) == 1
    with pytest.raises(error, match=words):
        next(results)


def test_nobody_outlives_a_caller_that_is_killed() -> None:
    code = (
        "import multiprocessing, os, signal\n"
        "from core.data.survey import Scanner\n"
        "from core.config.schema import RunConfig\n"
        "from core.data.workers import in_order\n"
        "import threading, time\n"
        "def tasks():\n"
        "    print(*(p.pid for p in multiprocessing.active_children()), flush=True)\n"
        "    time.sleep(60)\n"
        "    yield 1\n"
        "next(in_order(Scanner, (RunConfig(), None, False), tasks(), 2))\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    children = [int(pid) for pid in caller.stdout.readline().split()]
    assert len(children) == 2
    caller.kill()
    caller.wait()
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in children)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_there_is_a_process_for_each_core_up_to_a_limit() -> None:
    assert 1 <= processes() <= 8
