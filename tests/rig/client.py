"""The few requests to the API server that the rig itself makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
import yaml
from requests.adapters import HTTPAdapter

from rig.settings import Identity

Json = dict[str, Any]
PATCH_MERGE = "application/merge-patch+json"
PATCH_APPLY = "application/apply-patch+yaml"


class Refused(Exception):
    """The API server answered with an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Client:
    """Requests with one identity; may be used from several threads."""

    def __init__(self, identity: Identity, user_agent: str = "rig") -> None:
        self._server = identity.server
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(identity.authority)
        self._session.headers.update({"Authorization": f"Bearer {identity.token}", "User-Agent": user_agent})
        self._session.mount("https://", HTTPAdapter(pool_maxsize=16))
        self._paths: dict[tuple[str, str], tuple[str, bool]] = {}

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    def raw(self, method: str, path: str, **options: Any) -> requests.Response:
        """A request and its answer, whatever it is."""
        return self._session.request(method, self._server + path, timeout=60, **options)

    def request(self, method: str, path: str, **options: Any) -> Json:
        """A request; Refused if it does not succeed."""
        deadline = time.monotonic() + 30
        while (answer := self.raw(method, path, **options)).status_code == 429 and time.monotonic() < deadline:
            time.sleep(0.1)  # right after a definition, the API server is not ready for custom resources
        if not answer.ok:
            raise Refused(answer.status_code, _message(answer))
        found: Json = answer.json()
        return found

    def get(self, path: str, **parameters: str) -> Json:
        """An object or a list."""
        return self.request("GET", path, params=parameters)

    def create(self, item: Json) -> Json:
        """Create an object."""
        return self.request("POST", self.path(item, named=False), json=item)

    def set_status(self, item: Json) -> Json:
        """Give an object the status that `item` has."""
        return self.patch(item, {"status": item["status"]}, "/status")

    def patch(self, item: Json, change: Json, subresource: str = "") -> Json:
        """Merge a change into an object."""
        headers = {"Content-Type": PATCH_MERGE}
        return self.request("PATCH", self.path(item) + subresource, json=change, headers=headers)

    def apply(self, item: Json) -> Json:
        """Create an object or make it what `item` says, on the server's side."""
        options = {"params": {"fieldManager": "rig", "force": "true"}, "headers": {"Content-Type": PATCH_APPLY}}
        return self.request("PATCH", self.path(item), json=item, **options)

    def apply_all(self, items: Iterable[Json]) -> list[Json]:
        """Apply several."""
        return [self.apply(each) for each in items]

    def delete(self, item: Json) -> None:
        """Delete an object, if it is there."""
        answer = self.raw("DELETE", self.path(item))
        if not answer.ok and answer.status_code != 404:
            raise Refused(answer.status_code, _message(answer))

    def path(self, item: Json, *, named: bool = True) -> str:
        """Where an object is, or with `named` false its list."""
        base, namespaced = self._resource(item["apiVersion"], item["kind"])
        prefix, _, resource = base.rpartition("/")
        if namespaced:
            prefix += f"/namespaces/{quote(item['metadata'].get('namespace', 'default'), safe='')}"
        return f"{prefix}/{resource}" + (f"/{quote(item['metadata']['name'], safe='')}" if named else "")

    def everywhere(self, version: str, kind: str) -> str:
        """Where all objects of a kind are, in whatever namespace."""
        return self._resource(version, kind)[0]

    def _resource(self, version: str, kind: str) -> tuple[str, bool]:
        """The path of a kind's list in the whole cluster, and whether its objects are in namespaces."""
        if (version, kind) not in self._paths:
            root = f"/apis/{version}" if "/" in version else f"/api/{version}"
            for each in self.get(root)["resources"]:
                if "/" not in each["name"]:
                    self._paths[version, each["kind"]] = f"{root}/{each['name']}", each["namespaced"]
        if (version, kind) not in self._paths:
            raise Refused(404, f"the API server knows no {kind} of {version}")
        return self._paths[version, kind]


def get_local(url: str, **parameters: str) -> requests.Response:
    """What a program on loopback answers, whatever proxies the environment names."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, params=parameters, timeout=30)


def answers(url: str) -> bool:
    """Whether a program on loopback does its work."""
    try:
        return get_local(url).ok
    except requests.ConnectionError:
        return False


def manifests(source: str | Path | Json | Iterable[Json]) -> list[Json]:
    """The objects of a YAML file, or those that are given."""
    if isinstance(source, (str, Path)):
        found = list(yaml.safe_load_all(Path(source).read_text(encoding="utf-8")))
    else:
        found = [source] if isinstance(source, dict) else list(source)
    return [item for each in found if each for item in (each["items"] if each.get("kind") == "List" else [each])]


def wait_for(what: str, look: Callable[[], Any], seconds: float = 30) -> Any:
    """The first answer of `look` that is not None or false. TimeoutError if there is none in time."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)
    return found


def _message(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:500]
