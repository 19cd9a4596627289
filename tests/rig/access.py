"""Users of the cluster who may do just what a test says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rig.client import Client, Json, Refused
from rig.commands import Place
from rig.settings import Identity

#: The namespace of the service accounts that stand for users.
USERS = "rig-users"
_RBAC = "rbac.authorization.k8s.io"
_VERSION = f"{_RBAC}/v1"
_DAY = 24 * 3600


class Access:
    """Makes users: service accounts, for the API server reads its list of other users only when it starts."""

    def __init__(self, client: Client, place: Place) -> None:
        self._client = client
        self._place = place

    def user(self, name: str, rules: list[Json], namespace_rules: Mapping[str, list[Json]]) -> Path:
        """The kubeconfig of `system:serviceaccount:rig-users:<name>`, who may do this; what it could before is gone."""
        ensure_namespace(self._client, USERS)
        self._client.apply(_object("v1", "ServiceAccount", name, USERS))
        for before in self._client.get(f"/apis/{_VERSION}/rolebindings")["items"]:
            if before["metadata"]["name"] == _label(name):
                self._client.delete(_object(_VERSION, "RoleBinding", _label(name), before["metadata"]["namespace"]))
        self._grant("ClusterRole", name, "", rules)
        for namespace, own in namespace_rules.items():
            ensure_namespace(self._client, namespace)
            self._grant("Role", name, namespace, own)
        return self.account(USERS, name)

    def account(self, namespace: str, name: str) -> Path:
        """The kubeconfig of a service account that is there."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        token = self._client.request("POST", path, json={"spec": {"expirationSeconds": _DAY}})["status"]["token"]
        identity = Identity(f"https://127.0.0.1:{self._place.port}", self._place.authority, token)
        return identity.write_kubeconfig(self._place.kubeconfig(f"{namespace}-{name}"))

    def _grant(self, kind: str, name: str, namespace: str, rules: list[Json]) -> None:
        label = _label(name)
        self._client.apply({**_object(_VERSION, kind, label, namespace), "rules": rules})
        reference = {"apiGroup": _RBAC, "kind": kind, "name": label}
        subjects = [{"kind": "ServiceAccount", "name": name, "namespace": USERS}]
        binding = _object(_VERSION, f"{kind}Binding", label, namespace)
        self._client.apply({**binding, "roleRef": reference, "subjects": subjects})


def ensure_namespace(client: Client, name: str) -> None:
    """Make a namespace and the service account that its pods have, if they are not there."""
    for item in (_object("v1", "Namespace", name), _object("v1", "ServiceAccount", "default", name)):
        try:
            client.create(item)
        except Refused as refused:
            if refused.code != 409:
                raise


def _label(user: str) -> str:
    return f"rig-user-{user}"


def _object(version: str, kind: str, name: str, namespace: str = "") -> Json:
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": meta}
