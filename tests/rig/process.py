"""The rig's processes: started under a warden, watched while they come up, and killed at the end."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

WARDEN = Path(__file__).with_name("warden.py")
SHARED_MEMORY = Path("/dev/shm")
ROOM = 2 * 2**30
#: How long a program may take to be ready; with a large fleet on a busy machine the API server takes long.
SECONDS = 300


#: Below those that Linux gives to outgoing connections.
PORTS = range(20000, 30000)


class RigError(Exception):
    """A part of the rig does not do what it should."""


class Process:
    """A program that runs until it is stopped, or until this process is gone. `ready`: whether it does its work."""

    def __init__(
        self, name: str, command: Sequence[str | Path], folder: Path, ready: Callable[[], bool] | None = None
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._ready = ready
        self._command = [str(each) for each in command]
        self._folder = folder
        self._warden: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready; what it writes is appended to its log.

        RigError with the end of the log if it ends, or is not ready in time.
        """
        with self.log.open("ab") as log:
            self._warden = _warden("run", *self._command, output=log, folder=self._folder)
        deadline = time.monotonic() + SECONDS
        while self._ready is not None and not self._ready():
            if not self.running:
                raise RigError(f"{self.name} ended:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise RigError(f"{self.name} is not ready after {SECONDS} s:\n{self.tail()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it, and return when it is gone."""
        if self._warden is not None:
            _end(self._warden)
            self._warden = None

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._warden is not None and self._warden.poll() is None

    def tail(self, lines: int = 30) -> str:
        """The end of its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


class Folder:
    """A folder for one control plane, in memory where there is room; it goes when this process is gone."""

    def __init__(self) -> None:
        in_memory = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > ROOM
        # Not in TMPDIR, which may be long, when the path of a unix socket has 107 characters at most.
        self.path = Path(tempfile.mkdtemp(prefix="gpu-readiness-rig-", dir=SHARED_MEMORY if in_memory else "/tmp"))
        self._warden = _warden("remove", str(self.path), output=subprocess.DEVNULL, folder=Path("/"))

    def remove(self) -> None:
        """Remove it, and return when it is gone."""
        _end(self._warden)


def free_ports(count: int) -> list[int]:
    """Loopback ports that are free, from where the kernel takes none for connections of others in the meantime."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as attempt, suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RigError("no loopback port is free")


def _warden(*arguments: str, output: int | IO[bytes], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(WARDEN), *arguments],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=folder,
        start_new_session=True,  # Ctrl-C is for the tests, which then stop everything in order
    )


def _end(warden: subprocess.Popen[bytes]) -> None:
    assert warden.stdin is not None
    warden.stdin.close()
    warden.wait(timeout=30)
