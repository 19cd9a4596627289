"""Objects on their way into etcd without the API server: thousands of nodes in seconds."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from rig.client import Json
from rig.crds import definitions
from rig.process import RigError

#: What is stored under another name than that of its kind with an s.
_PLURALS = {"Node": "minions", "RuntimeClass": "runtimeclasses", "DeviceClass": "deviceclasses"}
_CUSTOM = {
    (each["spec"]["group"], each["spec"]["names"]["kind"]): each["spec"]["names"]["plural"] for each in definitions()
}


def write(program: Path, endpoint: str, objects: Iterable[Json], erase: Iterable[tuple[str, str]] = ()) -> int:
    """Write objects as they are; how many there were. RigError if two are in one place, or etcd did not take them.

    Before, all objects of the kinds `erase` are erased: pairs of version and kind.
    """
    prefixes = [f"{_place(version, kind)}/" for version, kind in erase]
    places: set[str] = set()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([program, endpoint, *prefixes], text=True, bufsize=1 << 20, **pipes) as process:
        assert process.stdin is not None
        try:
            for each in objects:
                place = key(each)
                if place in places:
                    process.kill()
                    raise RigError(f"seed: {place} is there twice")
                places.add(place)
                process.stdin.write(json.dumps({"key": place, "object": each}) + "\n")
            said, error = process.communicate()
        except BrokenPipeError:  # it has ended, and says why
            said, error = process.communicate()
    if process.returncode:
        raise RigError(f"seed: {error}")
    return int(said)


def key(item: Json) -> str:
    """Where the API server stores an object."""
    meta = item["metadata"]
    return "/".join(filter(None, (_place(item["apiVersion"], item["kind"]), meta.get("namespace"), meta["name"])))


def _place(version: str, kind: str) -> str:
    """Where the API server stores all objects of a kind: custom resources and their definitions under their group."""
    group = version.rpartition("/")[0]
    if custom := _CUSTOM.get((group, kind)):
        return f"/registry/{group}/{custom}"
    plural = _PLURALS.get(kind, f"{kind.lower()}s")
    return f"/registry/{group}/{plural}" if group == "apiextensions.k8s.io" else f"/registry/{plural}"


def stored(item: Json) -> Json:
    """An object as the API server stores it: with an identity and a time of creation, and without a version."""
    given = {"uid": str(uuid.uuid4()), "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    meta = {name: value for name, value in item["metadata"].items() if name != "resourceVersion"}
    return {**item, "metadata": given | meta}


def namespace(name: str) -> Json:
    """A namespace, ready for use."""
    meta = {"name": name, "labels": {"kubernetes.io/metadata.name": name}}
    spec, status = {"finalizers": ["kubernetes"]}, {"phase": "Active"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta, "spec": spec, "status": status}
