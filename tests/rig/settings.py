"""The files that the control plane's programs are configured with."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

#: Who there is from the start: all of them may do everything. What only `ADMIN` does is in the audit log.
ADMIN = "admin"
OWN = ("rig:controllers", "rig:scheduler", "rig:kwok", "rig:nodes", "rig:loader")
MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class Identity:
    """How to reach the API server as somebody."""

    server: str
    authority: Path
    token: str

    def write_kubeconfig(self, path: Path) -> Path:
        """Write it for kubectl and its like."""
        cluster = {"server": self.server, "certificate-authority": str(self.authority)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "rig",
            "clusters": [{"name": "rig", "cluster": cluster}],
            "users": [{"name": "rig", "user": {"token": self.token}}],
            "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": "rig"}}],
        }
        path.write_text(json.dumps(config), encoding="utf-8")
        path.chmod(0o600)
        return path


def write_tokens(path: Path) -> dict[str, str]:
    """Write the static token file; the token of each of those who are there from the start."""
    tokens = {name: secrets.token_hex(16) for name in (ADMIN, *OWN)}
    path.write_text("".join(f'{token},{name},{name},"{MASTERS}"\n' for name, token in tokens.items()), encoding="utf-8")
    path.chmod(0o600)
    return tokens


def write_audit_policy(path: Path) -> None:
    """Everything that clients ask for is logged once it was answered; what the rig and the API server do is not."""
    rules = [
        {"level": "None", "users": [*OWN, "system:apiserver"]},
        {"level": "None", "nonResourceURLs": ["/readyz*", "/livez*", "/healthz*"]},
        {"level": "Metadata"},
    ]
    policy = {"kind": "Policy", "omitStages": ["RequestReceived"], "omitManagedFields": True, "rules": rules}
    _write(path, {"apiVersion": "audit.k8s.io/v1", **policy})


def write_egress(path: Path, socket: Path) -> None:
    """What the API server sends to nodes and pods goes through `socket`, and to no address at all."""
    connection = {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": str(socket)}}}
    selections = [{"name": "cluster", "connection": connection}]
    _write(
        path,
        {
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": selections,
        },
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
