"""Judging ahead on a second core: a forked worker starts at the last node while the run starts at the first.

The worker has all evidence that the run has, because it is a copy of it, and sends back what it judged. Whatever it
does not deliver (it died, there is no fork here, the run was faster) the run judges itself: a worker can only save
time.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

#: Below this many nodes a worker costs more than it saves.
LEAST_NODES = 200
#: Seconds after which a worker notices at the latest that nobody waits for it.
_LOOK = 1.0
_LENGTH = struct.Struct("!I")


def _end_with(run: int) -> None:
    """Look again and again whether the run is still there: a check that hangs would never write to its broken pipe."""
    signal.signal(signal.SIGALRM, lambda *_: None if os.getppid() == run else os._exit(1))
    signal.setitimer(signal.ITIMER_REAL, _LOOK, _LOOK)


class Ahead:
    """Values of `judge(name)` for names from the end of a list, as far as the worker got."""

    def __init__(self, names: Sequence[str], judge: Callable[[str], Any]) -> None:
        self._found: dict[str, Any] = {}
        self._buffer = bytearray()
        self._pipe = -1
        self._worker = 0
        if (
            len(names) >= LEAST_NODES
            and (os.cpu_count() or 1) > 1
            and hasattr(os, "fork")
            and threading.active_count() == 1
        ):
            self._start(names, judge)

    def _start(self, names: Sequence[str], judge: Callable[[str], Any]) -> None:
        run = os.getpid()
        self._pipe, write_end = os.pipe()
        self._worker = os.fork()
        if self._worker:
            os.close(write_end)
            os.set_blocking(self._pipe, False)
            return
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _end_with(run)
            os.close(self._pipe)
            with os.fdopen(write_end, "wb", buffering=1 << 16) as out:
                for name in reversed(names):
                    data = pickle.dumps((name, judge(name)), pickle.HIGHEST_PROTOCOL)
                    out.write(_LENGTH.pack(len(data)) + data)
                    out.flush()  # a run that is gone shows here, not some nodes later
            status = 0
        finally:  # whatever happened: the copy must never go on as if it were the run
            os._exit(status)

    def take(self, name: str) -> Any | None:
        """What the worker judged of a node, None if it has not come to it."""
        self._read()
        return self._found.pop(name, None)

    def _read(self) -> None:
        while self._pipe >= 0 and select.select([self._pipe], [], [], 0)[0]:
            data = os.read(self._pipe, 1 << 20)
            if not data:
                self.close()
                return
            self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            name, value = pickle.loads(memoryview(self._buffer)[_LENGTH.size : end])  # noqa: S301 - our own copy wrote it
            self._found[name] = value
            del self._buffer[:end]

    def close(self) -> None:
        """End the worker, if it still runs, and leave nothing of it behind."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        if self._worker:
            with suppress(ProcessLookupError):
                os.kill(self._worker, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._worker, 0)
            self._worker = 0
