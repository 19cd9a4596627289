"""What the nodes say: the folder that the double reads at each request."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from rig.client import answers, get_local

#: What the parts of a node can do in place of their work.
BEHAVIOURS = {
    "kubelet": ("blackhole", "hang", "http500", "refuse"),
    "exec": ("drop", "endless", "exit9", "hang", "http500", "missing", "refuse"),
    "logs": ("drop", "endless", "flood", "hang", "http500", "refuse"),
    "kernel": ("flood", "hang", "http500"),
    "exporter": ("blackhole", "drop", "flaky", "flood", "hang", "http500", "refuse", "slow", "tls"),
}


class Double:
    """Sets what each node says; `url` is where exporters can be reached without the API server."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    def node(self, name: str) -> Path:
        """The folder of a node's artefacts, named as in a snapshot; it is made."""
        path = self.folder / "nodes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def put(self, node: str, artefact: str, content: str | bytes | None) -> None:
        """Set what a node says, all at once; None: it says nothing."""
        path = self.node(node) / artefact
        if content is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f".{path.name}")
        written.write_bytes(content.encode() if isinstance(content, str) else content)
        written.replace(path)  # what was there may be a link to the file of a snapshot

    def behave(self, node: str, **behaviour: str) -> None:
        """Have parts of a node misbehave as `BEHAVIOURS` has it, `pod` as stages.yaml; without any, all is well."""
        for part, how in behaviour.items():
            if part != "pod" and how not in BEHAVIOURS[part]:
                raise ValueError(f"{part} cannot {how}; it can {', '.join(BEHAVIOURS[part])}")
        self.put(node, "behave.json", json.dumps(behaviour) if behaviour else None)

    def forward(self, addresses: Mapping[str, str]) -> None:
        """Have programs on loopback stand for what pods serve: their address by the pod's, both with a port."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "forward.json").write_text(json.dumps(dict(addresses)), encoding="utf-8")

    def answers(self) -> bool:
        """Whether the double has begun its work."""
        return answers(f"{self.url}/known")

    def known(self) -> tuple[int, int]:
        """How many nodes and pods the double knows: it hears of them a moment after they were made."""
        known = get_local(f"{self.url}/known").json()
        return known["nodes"], known["pods"]

    def clear(self) -> None:
        """Have no node say anything."""
        shutil.rmtree(self.folder / "nodes", ignore_errors=True)

    def copy(self, snapshot: Path) -> None:
        """Have nodes say what they say in a snapshot; its files are linked to."""
        for node in (snapshot / "nodes").iterdir() if (snapshot / "nodes").is_dir() else ():
            for root, _, names in os.walk(node):
                target = self.node(node.name) / Path(root).relative_to(node)
                target.mkdir(exist_ok=True)
                for name in names:
                    (target / name).unlink(missing_ok=True)
                    (target / name).symlink_to((Path(root) / name).resolve())
