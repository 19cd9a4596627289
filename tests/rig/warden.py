"""Runs beside a process or a folder of the rig, and ends it when the test process is gone, however that ended.

    warden.py run COMMAND...     until it ends by itself, or standard input is closed, or SIGTERM: then it is killed
    warden.py remove FOLDER      when standard input is closed

Standard input is a pipe whose other end only the test process has. It is a program of its own, and not a setting of the
child, because the kernel's death signal follows the thread that started the child, which may be any.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1


def run(command: list[str]) -> int:
    """Run a command; its exit code."""
    libc = ctypes.CDLL(None)
    stopped, stop = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(stop, b"."))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 - there are no threads here
    )
    ended = os.pidfd_open(child.pid)
    select.select([sys.stdin.fileno(), ended, stopped], [], [])
    child.kill()  # does nothing to one that has ended
    return child.wait()


def remove(folder: str) -> int:
    """Remove a folder, at which processes may be writing for another moment."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.read()
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not Path(folder).exists():
            return 0
        time.sleep(0.1)
    return 1


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    sys.exit(run(rest) if verb == "run" else remove(*rest))
