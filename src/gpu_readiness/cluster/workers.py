"""Many small tasks at once, under one limit, without one of them keeping the others."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

#: Seconds between two looks at how far the tasks are.
_LOOK = 0.1


def run_all(tasks: Iterable[Callable[[], None]], limit: int, progress: Callable[[int, int], None]) -> None:
    """Run all tasks in at most `limit` threads; `progress` hears how many are done, and of how many.

    The threads are daemons: an interruption does not wait for whatever they wait for.

    Raises:
        Exception: what a task raised, once all have ended. A task that can fail says so itself.
    """
    waiting = deque(tasks)
    total, ended = len(waiting), 0
    problems: list[Exception] = []
    lock = threading.Condition()

    def work() -> None:
        nonlocal ended
        while True:
            try:
                task = waiting.popleft()
            except IndexError:
                return
            try:
                task()
            except Exception as problem:  # noqa: BLE001 - handed on to the caller below
                problems.append(problem)
            with lock:
                ended += 1
                lock.notify()

    try:
        for _ in range(min(limit, total)):
            threading.Thread(target=work, daemon=True).start()
        with lock:
            while ended < total:
                lock.wait(_LOOK)
                progress(ended, total)
    finally:
        waiting.clear()
    if problems:
        raise problems[0]
