"""A control plane on loopback: etcd, the API server, controllers, scheduler, and what stands in for nodes."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType

from rig import seed
from rig.access import Access
from rig.audit import AuditLog, Request
from rig.build import build
from rig.client import Client, Json, manifests, wait_for
from rig.commands import Place, apiserver, controllers, etcd, nodes, scheduler
from rig.double import Double
from rig.process import Folder, Process, free_ports
from rig.settings import ADMIN, Identity, write_audit_policy, write_egress, write_tokens


class ControlPlane:
    """A cluster without nodes; `with ControlPlane() as plane` starts it, and leaves nothing behind.

    `kubeconfig` is a cluster administrator's, `client` makes requests that are not counted, and `double` says what the
    nodes say. `node_grace`: for how many seconds a node is ready without a heartbeat.
    """

    def __init__(self, *, node_grace: int = 3600) -> None:
        self._node_grace = node_grace
        self._markers = itertools.count()
        self._started: list[Process] = []
        self._end = ExitStack()

    def __enter__(self) -> ControlPlane:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything, and return when requests are answered. RigError with the end of a log if it does not."""
        binaries = build()
        folder = Folder()
        self._end.callback(folder.remove)
        try:
            self._configure(Place(folder.path, binaries, *free_ports(2)))
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill everything, and remove its files."""
        self._end.close()

    def _configure(self, place: Place) -> None:
        self.place = place
        self.folder = place.folder
        self.host = f"https://127.0.0.1:{place.port}"
        tokens = write_tokens(place.tokens)
        write_audit_policy(place.audit_policy)
        write_egress(place.egress, place.socket)
        subprocess.run([place.binaries / "keys", place.key], check=True, timeout=60)
        self.identities = {name: Identity(self.host, place.authority, token) for name, token in tokens.items()}
        for name, identity in self.identities.items():
            identity.write_kubeconfig(place.kubeconfig(name))
        self.kubeconfig = place.kubeconfig(ADMIN)
        self.client = Client(self.identities["rig:loader"])
        self._end.callback(self.client.close)
        self.access = Access(self.client, place)
        self.double = Double(place.artefacts, f"http://127.0.0.1:{place.nodes_port}")
        self._audit = AuditLog(place.audit_log)

    def _start(self) -> None:
        place = self.place
        self.run("etcd", etcd(place), place.etcd_socket.exists)
        self._apiserver = self.run("kube-apiserver", apiserver(place), self._ready)
        self.run("kube-controller-manager", controllers(place, self._node_grace))
        self.run("kube-scheduler", scheduler(place))
        self.run("nodes", nodes(place), self.double.answers)
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_for("the controllers' first work", lambda: self.client.raw("GET", account).ok, 60)

    def run(self, name: str, command: list[str | Path], ready: Callable[[], bool] | None = None) -> Process:
        """Run another program until the control plane is stopped; returns when it is ready."""
        process = Process(name, command, self.folder, ready)
        self._started.append(process)
        self._end.callback(process.stop)
        process.start()
        return process

    def _ready(self) -> bool:
        if not self.place.authority.exists():
            return False
        try:
            return self.client.raw("GET", "/readyz").ok
        except OSError:  # which requests' errors are
            return False

    def restart_apiserver(self, downtime: float = 0.0) -> None:
        """Kill the API server, and start it again after `downtime` seconds; returns when it is ready."""
        self._apiserver.stop()
        time.sleep(downtime)
        self._apiserver.start()

    def seed(self, objects: Iterable[Json], erase: Iterable[tuple[str, str]] = ()) -> int:
        """Write objects into etcd as they are; how many there were.

        Before, all objects of the kinds `erase` are erased: pairs of version and kind. Meanwhile everything but etcd is
        down, and begins with new lists: watches that were only broken come back after half a minute.
        """
        others = [each for each in self._started[1:] if each.running]
        for each in reversed(others):
            each.stop()
        try:
            return seed.write(self.place.binaries / "seed", f"unix://{self.place.etcd_socket}", objects, erase)
        finally:
            for each in others:
                each.start()

    def apply(self, source: str | Path | Json | Iterable[Json]) -> list[Json]:
        """Apply a YAML file of manifests, or objects; what they have become."""
        return self.client.apply_all(manifests(source))

    def user_kubeconfig(
        self, name: str, rules: list[Json], namespace_rules: Mapping[str, list[Json]] | None = None
    ) -> Path:
        """The kubeconfig of a user who may do exactly this, in the whole cluster and in namespaces."""
        return self.access.user(name, rules, namespace_rules or {})

    def account_kubeconfig(self, namespace: str, name: str) -> Path:
        """The kubeconfig of a service account that is there."""
        return self.access.account(namespace, name)

    def requests(self, *, user_agent_prefix: str = "", user: str = "", since: float = 0.0) -> list[Request]:
        """What the API server was asked for, except by the rig's own parts. `since`: a time that time.time() gave."""
        marker = f"rig-marker-{next(self._markers)}"
        with closing(Client(self.identities[ADMIN], marker)) as marking:
            marking.get("/version")
        wait_for("the audit log", lambda: any(each.user_agent == marker for each in self._audit.requests()))
        return [
            each
            for each in self._audit.requests()
            if each.at >= since
            and each.user_agent.startswith(user_agent_prefix)
            and not each.user_agent.startswith("rig-marker-")
            and user in ("", each.user)
        ]
