"""Puts objects into etcd without the API server: thousands of nodes in seconds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable

from rig.client import Json
from rig.commands import Place
from rig.process import RigError

#: Kinds whose place in etcd does not follow from their name.
_PLURALS = {"Node": "minions", "RuntimeClass": "runtimeclasses", "DeviceClass": "deviceclasses"}
_PLURALS |= {"ClusterPolicy": "clusterpolicies"}
#: Groups whose objects are stored under their group, as those of custom resources are.
_GROUPED = ("nvidia.com", "nfd.k8s-sigs.io", "apiextensions.k8s.io", "nvidia.com")


def seed(place: Place, objects: Iterable[Json]) -> int:
    """Write objects as they are; how many there were. The API server must not run yet."""
    command = [place.binaries / "seed", f"unix://{place.etcd_socket}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1 << 20
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for each in objects:
                process.stdin.write(json.dumps({"key": key(each), "object": each}) + "\n")
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has said why, on standard error
        said = process.stdout.read()
    if process.returncode:
        raise RigError(f"seed ended with {process.returncode}")
    return int(said)


def key(item: Json) -> str:
    """Where the API server stores an object."""
    group = item["apiVersion"].rpartition("/")[0]
    kind = item["kind"]
    plural = _PLURALS.get(kind, f"{kind.lower()}s")
    meta = item["metadata"]
    parts = [group] * (group in _GROUPED) + [
        plural,
        *([meta["namespace"]] if "namespace" in meta else []),
        meta["name"],
    ]
    return "/registry/" + "/".join(filter(None, parts))
