"""Many small tasks at once, under one limit, without one of them keeping the others."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

#: Seconds between two looks at how far the tasks are.
_LOOK = 0.1


def run_all(groups: Iterable[Iterable[Callable[[], None]]], limit: int, progress: Callable[[int, int], None]) -> None:
    """Run all tasks, of each group at most `limit` at a time; `progress` hears how many are done, and of how many.

    Groups do not wait for one another, so that a thousand exporters that hang keep nobody from asking drivers. The
    threads are daemons: an interruption does not wait for whatever they wait for.

    Raises:
        BaseException: what a task raised, once all have ended. A task that can fail says so itself.
    """
    queues = [deque(tasks) for tasks in groups]
    total, ended = sum(map(len, queues)), 0
    problems: list[BaseException] = []
    lock = threading.Condition()

    def work(waiting: deque[Callable[[], None]]) -> None:
        nonlocal ended
        while True:
            try:
                task = waiting.popleft()
            except IndexError:
                return
            try:
                task()
            except BaseException as problem:  # noqa: BLE001 - handed on to the caller below
                problems.append(problem)
            finally:
                with lock:
                    ended += 1
                    lock.notify()

    try:
        for queue in queues:
            for _ in range(min(limit, len(queue))):
                threading.Thread(target=work, args=(queue,), daemon=True).start()
        with lock:
            while ended < total:
                lock.wait(_LOOK)
                progress(ended, total)
    finally:
        for queue in queues:
            queue.clear()
    if problems:
        raise problems[0]
