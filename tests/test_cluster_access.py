"""Which cluster is meant, and what is said where there is none; no cluster is needed for that."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpu_readiness.cluster import access
from gpu_readiness.cluster.access import AccessProblem, ApiServer, Refused, as_unmeasured
from gpu_readiness.verdict import Reason


def kubeconfig(folder: Path, user: dict[str, Any], **cluster: str) -> str:
    text = yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "prod",
            "contexts": [
                {"name": "prod", "context": {"cluster": "c", "user": "u", "namespace": "gpus"}},
                {"name": "other", "context": {"cluster": "c", "user": "u"}},
            ],
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1", **cluster}}],
            "users": [{"name": "u", "user": user}],
        }
    )
    path = folder / "kubeconfig"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_context_says_server_name_and_namespace(tmp_path: Path) -> None:
    api = ApiServer.connect(kubeconfig(tmp_path, {"token": "abc"}))
    assert (api.name, api.namespace, api.host) == ("prod", "gpus", "https://127.0.0.1:1")
    assert api.headers()["authorization"] == "Bearer abc"
    assert api.headers()["user-agent"].startswith("gpu-readiness/")
    other = ApiServer.connect(kubeconfig(tmp_path, {"token": "abc"}), "other")
    assert (other.name, other.namespace) == ("other", "default")


def test_a_credential_plugin_is_asked_for_the_token(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    answer = '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"from-plugin"}}'
    plugin.write_text(f"#!{sys.executable}\nprint('{answer}')\n", encoding="utf-8")
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    user = {
        "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}
    }
    assert ApiServer.connect(kubeconfig(tmp_path, user)).headers()["authorization"] == "Bearer from-plugin"


def test_a_proxy_and_a_name_for_tls_are_the_kubeconfigs(tmp_path: Path) -> None:
    own = {"proxy-url": "http://127.0.0.1:3128", "tls-server-name": "api.example.com"}
    api = ApiServer.connect(kubeconfig(tmp_path, {"token": "abc"}, **own))
    assert api.configuration.proxy == "http://127.0.0.1:3128"
    assert api.configuration.tls_server_name == "api.example.com"


@pytest.mark.parametrize(
    ("text", "context", "said"),
    [
        (None, None, "there is no kubeconfig"),
        ("a: [", None, "cannot be used"),
        ("just text", None, "cannot be used"),
        ("apiVersion: v1\nkind: Config\n", None, "Expected key"),
        ("good", "nowhere", "nowhere"),
    ],
    ids=["absent", "no-yaml", "text", "empty", "context"],
)
def test_a_kubeconfig_that_cannot_be_used_is_one_line(
    text: str | None, context: str | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    if text == "good":
        kubeconfig(tmp_path, {"token": "abc"})
    elif text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(AccessProblem) as problem:
        ApiServer.connect(str(path), context)
    assert said in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_pod_of_the_cluster_is_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubernetes.config import incluster_config

    (tmp_path / "token").write_text("of-the-pod", encoding="utf-8")
    (tmp_path / "namespace").write_text("monitoring", encoding="utf-8")
    authority = tmp_path / "ca.crt"
    authority.write_text("x", encoding="utf-8")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    monkeypatch.setattr(access, "TOKEN_FILE", tmp_path / "token")
    monkeypatch.setattr(access, "NAMESPACE_FILE", tmp_path / "namespace")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
    loader = incluster_config.InClusterConfigLoader

    def with_our_files(client_configuration: Any = None, **_: Any) -> None:
        loader(str(tmp_path / "token"), str(authority)).load_and_set(client_configuration)

    monkeypatch.setattr("kubernetes.config.load_incluster_config", with_our_files)
    monkeypatch.setattr(access, "POOL", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kubernetes.client.ApiClient", lambda configuration: _NoClient())
        api = ApiServer.connect()
    assert (api.name, api.namespace, api.host) == ("in-cluster", "monitoring", "https://127.0.0.1:6443")
    assert api.headers()["authorization"].lower() == "bearer of-the-pod"


class _NoClient:
    class rest_client:  # noqa: N801 - as the client calls it
        pool_manager = None


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, Reason.DENIED),
        (403, Reason.DENIED),
        (404, Reason.MISSING),
        (410, Reason.TIMEOUT),
        (429, Reason.TIMEOUT),
        (500, Reason.TIMEOUT),
        (503, Reason.TIMEOUT),
    ],
)
def test_what_a_refusal_is_as_evidence(status: int, reason: Reason) -> None:
    found = as_unmeasured(Refused(status, "no", {}), "nodes.json", "the rule")
    assert found.reason is reason
    assert ("the rule" in found.message) == (status == 403)
