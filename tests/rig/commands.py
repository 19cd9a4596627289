"""The command lines of the control plane's programs, and where their files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Kept back, for objects from snapshots are to stay as they are: what these controllers would do to them.
PICTURES = (
    "daemonset-controller",  # make pods for the DaemonSets
    "disruption-controller",  # reckon anew what a PodDisruptionBudget allows
    "taint-eviction-controller",  # evict the pods of nodes that are not ready
    "device-taint-eviction-controller",
)
SERVICES = "10.0.0.0/24"


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one control plane, the programs, and two loopback ports."""

    folder: Path
    binaries: Path
    port: int
    nodes_port: int

    @property
    def tokens(self) -> Path:
        """Static tokens."""
        return self.folder / "tokens.csv"

    @property
    def key(self) -> Path:
        """What service account tokens are signed with."""
        return self.folder / "service-accounts.pem"

    @property
    def authority(self) -> Path:
        """The API server's certificate, which it makes itself."""
        return self.folder / "certificates" / "apiserver.crt"

    @property
    def audit_policy(self) -> Path:
        """What is logged."""
        return self.folder / "audit-policy.yaml"

    @property
    def audit_log(self) -> Path:
        """What was asked for."""
        return self.folder / "audit.jsonl"

    @property
    def egress(self) -> Path:
        """Which way leads to nodes and pods."""
        return self.folder / "egress.yaml"

    @property
    def socket(self) -> Path:
        """Where it leads to."""
        return self.folder / "nodes.sock"

    @property
    def etcd_socket(self) -> Path:
        """Where etcd listens."""
        return self.folder / "etcd.sock"

    @property
    def artefacts(self) -> Path:
        """What the nodes say."""
        return self.folder / "artefacts"

    def kubeconfig(self, name: str) -> Path:
        """The access of somebody."""
        return self.folder / f"{name.replace(':', '-')}.kubeconfig"


def etcd(place: Place) -> list[str | Path]:
    """Etcd that forgets everything when the machine stops, and may be as fast for it."""
    peers = "unix://peer:1"  # nobody; a socket of this name in the folder that etcd runs in
    return [
        place.binaries / "server",
        f"--data-dir={place.folder / 'etcd'}",
        f"--listen-client-urls=unix://{place.etcd_socket}",
        "--advertise-client-urls=unix://clients:1",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        "--unsafe-no-fsync",
        "--snapshot-count=10000000",
        f"--quota-backend-bytes={8 * 2**30}",
        "--log-level=warn",
    ]


def apiserver(place: Place) -> list[str | Path]:
    """The API server."""
    return [
        place.binaries / "kube-apiserver",
        f"--etcd-servers=unix://{place.etcd_socket}",
        "--bind-address=127.0.0.1",
        f"--secure-port={place.port}",
        # What a cluster without a network is told in place of an address that others could reach.
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--service-cluster-ip-range={SERVICES}",
        f"--cert-dir={place.authority.parent}",
        f"--token-auth-file={place.tokens}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://rig.invalid",
        f"--service-account-key-file={place.key}",
        f"--service-account-signing-key-file={place.key}",
        f"--audit-policy-file={place.audit_policy}",
        f"--audit-log-path={place.audit_log}",
        "--audit-log-mode=blocking",
        "--audit-log-maxsize=4096",
        f"--egress-selector-config-file={place.egress}",
        # The API server looks names up before it lets a request through to a node; addresses need no DNS.
        "--kubelet-preferred-address-types=InternalIP",
        "--delete-collection-workers=16",
        "--profiling=false",
    ]


def controllers(place: Place, node_grace: int) -> list[str | Path]:
    """The controllers, without those that would change pictures."""
    return [
        place.binaries / "kube-controller-manager",
        f"--kubeconfig={place.kubeconfig('rig:controllers')}",
        "--controllers=" + ",".join(["*", *(f"-{each}" for each in PICTURES)]),
        f"--service-account-private-key-file={place.key}",
        f"--root-ca-file={place.authority}",
        f"--node-monitor-grace-period={node_grace}s",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=2000",
        "--kube-api-burst=4000",
    ]


def scheduler(place: Place) -> list[str | Path]:
    """The scheduler."""
    return [
        place.binaries / "kube-scheduler",
        f"--kubeconfig={place.kubeconfig('rig:scheduler')}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=2000",
        "--kube-api-burst=4000",
    ]


def nodes(place: Place) -> list[str | Path]:
    """The double of all nodes."""
    return [
        place.binaries / "nodes",
        f"--socket={place.socket}",
        f"--loopback=127.0.0.1:{place.nodes_port}",
        f"--folder={place.artefacts}",
        f"--kubeconfig={place.kubeconfig('rig:nodes')}",
    ]
