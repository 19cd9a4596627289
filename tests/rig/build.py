"""Build the rig's programs with Go, once for each state of their sources: `python -m rig.build` says where they are."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

SOURCES = Path(__file__).parent
#: Our own programs, and those of others that go.mod names as tools; `server` is etcd.
PROGRAMS = ("nodes", "seed", "keys")
TOOLS = ("server", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")


class BuildError(Exception):
    """The programs cannot be built here."""


class NoGoError(BuildError):
    """There is no Go, or one that is too old, or this is no Linux."""


def build() -> Path:
    """The folder with the programs; they are built if they are not there. BuildError says what is missing."""
    if sys.platform != "linux":
        raise NoGoError("the rig runs on Linux only")
    go = _go_version()
    modules = ["go.mod", "go.sum"]
    sources = sorted(str(each.relative_to(SOURCES)) for each in SOURCES.rglob("*.go"))
    tools = _cache() / f"tools-{_digest(go, modules)}"
    programs = _cache() / f"programs-{_digest(go, modules + sources)}"
    if _complete(programs, PROGRAMS + TOOLS):
        return programs
    programs.parent.mkdir(parents=True, exist_ok=True)
    with (_cache() / "lock").open("w") as lock:
        if not _lock(lock.fileno(), wait=False):
            _say("another process is building: waiting for it")
            _lock(lock.fileno(), wait=True)
        if not _complete(tools, TOOLS):
            _say("building etcd, a control plane and kwok: the first time this takes minutes and 4 GB")
            _build_into(tools, "tool")
        if not _complete(programs, PROGRAMS + TOOLS):
            _build_into(programs, *(f"./{name}" for name in PROGRAMS), beside=tools)
            _forget("tools-*", 2)
            _forget("programs-*", 5)
    return programs


def _build_into(place: Path, *what: str, beside: Path | None = None) -> None:
    """Build in a scratch folder and rename it, so that what is there is whole; link what lies in `beside`."""
    begun = time.monotonic()
    for left in place.parent.glob(f"{place.name}.*"):  # by a build that was killed: we hold the lock
        shutil.rmtree(left)
    scratch = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
    try:
        flags = ("-trimpath", "-buildvcs=false", "-ldflags", _link_flags())
        _go("build", *flags, "-o", f"{scratch}/", *what)
        for each in beside.iterdir() if beside else ():
            os.link(each, scratch / each.name)
        scratch.chmod(0o755)
        shutil.rmtree(place, ignore_errors=True)
        scratch.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _say(f"built {', '.join(sorted(each.name for each in place.iterdir()))} in {time.monotonic() - begun:.0f} s")


def _forget(pattern: str, keep: int) -> None:
    """Remove what older sources were built to."""
    for place in sorted(_cache().glob(pattern), key=lambda each: each.stat().st_mtime)[:-keep]:
        shutil.rmtree(place, ignore_errors=True)


def _link_flags() -> str:
    """Kubernetes learns its version from the linker, and says v0.0.0 to clients without."""
    found = re.search(r"^\s+k8s\.io/kubernetes (v(\d+)\.(\d+)\S*)", _text("go.mod"), re.MULTILINE)
    if found is None:
        raise BuildError(f"{SOURCES / 'go.mod'} does not require k8s.io/kubernetes")
    version, major, minor = found.groups()
    said = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s", "-w", *(f"-X k8s.io/component-base/version.{name}={value}" for name, value in said.items())])


def _go_version() -> str:
    """Go's version; BuildError if it is missing or too old."""
    needed = re.search(r"^go (\d+)\.(\d+)", _text("go.mod"), re.MULTILINE)
    assert needed is not None, "go.mod says no version"
    wanted = f"Go {needed.group(1)}.{needed.group(2)} or newer"
    if shutil.which("go") is None:
        raise NoGoError(f"the rig is built with {wanted}, and there is no go on the PATH: https://go.dev/dl")
    said = _go("env", "GOVERSION").strip()
    found = re.match(r"go(\d+)\.(\d+)", said)
    if found is None or tuple(map(int, found.groups())) < tuple(map(int, needed.groups())):
        raise NoGoError(f"the rig is built with {wanted}, and this is {said}: https://go.dev/dl")
    return said


def _digest(go: str, names: Iterable[str]) -> str:
    """A short name for what programs are made of."""
    digest = hashlib.sha256(f"{go}\0{_link_flags()}".encode())
    for name in names:
        digest.update(f"\0{name}\0{_text(name)}".encode())
    return digest.hexdigest()[:16]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu-readiness" / "rig"


def _complete(place: Path, names: Iterable[str]) -> bool:
    return all((place / name).is_file() for name in names)


def _lock(descriptor: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _go(*arguments: str) -> str:
    # Go is to say that it is too old, and not to fetch a newer one; without cgo no C compiler is needed.
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
    done = subprocess.run(["go", *arguments], cwd=SOURCES, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"go {' '.join(arguments)} failed in {SOURCES}:\n{done.stderr[-4000:]}")
    return done.stdout


def _text(name: str) -> str:
    return (SOURCES / name).read_text(encoding="utf-8")


def _say(text: str) -> None:
    sys.stderr.write(f"rig: {text}\n")


def main() -> int:
    """Build, and print the folder."""
    try:
        sys.stdout.write(f"{build()}\n")
    except BuildError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
