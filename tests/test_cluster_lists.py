"""Lists of a live cluster: page by page, whole or not at all, and without secrets on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import Reply, Request, StandIn, judge, refusal, serving
from nodes import dra, h100

from gpu_readiness.cluster import lists
from gpu_readiness.cluster.access import ApiServer, Refused
from gpu_readiness.cluster.gather import Wishes, gather
from gpu_readiness.cluster.kinds import LISTED, Kind
from gpu_readiness.cluster.lists import list_items, write_list
from gpu_readiness.evidence.cluster import Cluster
from gpu_readiness.evidence.documents import iter_items
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.snapshot import Snapshot

Json = dict[str, Any]

PODS = "/api/v1/pods"
KINDS: dict[str, Kind] = {kind.name: kind for kind in LISTED}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    """An API server with nothing in it."""
    with StandIn(tmp_path / "none") as found:
        yield found


@pytest.fixture
def api(server: StandIn, tmp_path: Path) -> ApiServer:
    return ApiServer.connect(str(server.kubeconfig(tmp_path)))


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten objects on a page, however light they are."""
    monkeypatch.setattr(lists, "FIRST_PAGE", 10)
    monkeypatch.setattr(lists, "PAGE_BYTES", 1)


def pods(count: int, weight: int = 0) -> list[Json]:
    return [{"metadata": {"name": f"p{number}", "namespace": "n"}, "pad": "x" * weight} for number in range(count)]


def names(items: Any) -> list[str]:
    return [each["metadata"]["name"] for each in items]


def queries(server: StandIn, path: str = PODS) -> list[dict[str, str]]:
    return [request.query for request in server.requests if request.path == path]


def written(folder: Path, kind: str) -> Json:
    found: Json = json.loads((folder / f"{kind}.json").read_text(encoding="utf-8"))
    return found


def recorded(folder: Path, kind: str) -> tuple[str, str]:
    """Reason and message of a list that could not be written; nothing else is left of it."""
    assert not (folder / f"{kind}.json").exists()
    found = json.loads((folder / f"{kind}.json.error").read_text(encoding="utf-8"))
    return found["reason"], found["message"]


# --- pages -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize(("count", "pages"), [(0, 1), (9, 1), (10, 1), (11, 2), (35, 4)])
def test_a_list_is_read_page_by_page(count: int, pages: int, server: StandIn, api: ApiServer) -> None:
    server.lists["pods"] = pods(count)
    assert names(list_items(api, PODS)) == [f"p{number}" for number in range(count)]
    asked = queries(server)
    assert [each["limit"] for each in asked] == ["10"] * pages
    assert [each.get("continue") for each in asked] == [None, *(f"from-{10 * page}" for page in range(1, pages))]


def test_selectors_go_along_with_every_page(server: StandIn, api: ApiServer, small_pages: None) -> None:
    about = {"kind": "Node", "name": "gpu-1"}
    server.lists["events"] = [{**each, "involvedObject": about} for each in pods(15)]
    server.lists["events"].insert(3, {"metadata": {"name": "other"}, "involvedObject": {"kind": "Pod", "name": "x"}})
    found = names(list_items(api, "/api/v1/events", selectors={"fieldSelector": "involvedObject.kind=Node"}))
    assert found == [f"p{number}" for number in range(15)]
    assert [each["fieldSelector"] for each in queries(server, "/api/v1/events")] == ["involvedObject.kind=Node"] * 2


@pytest.mark.parametrize(("weight", "least", "most"), [(1000, 90, 100), (100_000, 10, 10), (0, 1000, 5000)])
def test_the_size_of_a_page_follows_what_objects_weigh(
    weight: int, least: int, most: int, server: StandIn, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "FIRST_PAGE", 10)
    monkeypatch.setattr(lists, "PAGE_BYTES", 100_000)
    server.lists["pods"] = pods(15, weight)
    assert len(list(list_items(api, PODS))) == 15
    first, second = (int(each["limit"]) for each in queries(server))
    assert first == 10
    assert least <= second <= most


def test_a_server_may_give_less_than_is_asked_for(server: StandIn, api: ApiServer) -> None:
    server.lists["pods"], server.page = pods(10), 3
    assert len(set(names(list_items(api, PODS)))) == 10
    assert len(queries(server)) == 4


@pytest.mark.usefixtures("small_pages")
def test_a_token_is_handed_back_as_it_came(server: StandIn, api: ApiServer) -> None:
    token = "eyJ2IjoibWV0YS5rOHM+/=&limit=1#ä"

    def answer(request: Request) -> Reply:
        last = request.query.get("continue") == token
        return Reply(body={"metadata": {} if last else {"continue": token}, "items": pods(2)[last:][:1]})

    server.answer(PODS, answer, times=2)
    assert names(list_items(api, PODS)) == ["p0", "p1"]


def test_a_large_list_comes_compressed(server: StandIn, api: ApiServer) -> None:
    server.lists["pods"] = pods(300, 1000)
    assert len(list(list_items(api, PODS))) == 300
    assert server.compressed == 1


@pytest.mark.usefixtures("small_pages")
def test_an_object_that_two_pages_have_is_there_once(server: StandIn, api: ApiServer) -> None:
    items = pods(14)
    items[12] = {**items[3], "pad": "the later one"}
    items[13] = {"metadata": {"name": "p3", "namespace": "another"}}
    server.lists["pods"] = items
    found = list(list_items(api, PODS))
    assert names(found) == [*(f"p{number}" for number in range(12)), "p3"]
    assert found[3]["pad"] == ""
    assert found[-1]["metadata"]["namespace"] == "another"


# --- a version that is forgotten -------------------------------------------------------------------------------


def expired(token: str = "") -> Reply:
    return refusal(410, "The provided continue parameter is too old", metadata={"continue": token} if token else {})


@pytest.mark.usefixtures("small_pages")
def test_a_list_goes_on_with_the_token_that_it_is_offered(server: StandIn, api: ApiServer, tmp_path: Path) -> None:
    server.lists["pods"] = pods(25)
    server.answer("continue=from-10", expired("from-8"), times=1)
    seen: list[str] = []
    assert write_list(api, KINDS["pods"], tmp_path, lambda item: not seen.append(item["metadata"]["name"])) is None
    assert names(written(tmp_path, "pods")["items"]) == seen == [f"p{number}" for number in range(25)]
    assert [each.get("continue") for each in queries(server)] == [None, "from-10", "from-8", "from-18"]


@pytest.mark.usefixtures("small_pages")
def test_a_list_without_such_an_offer_begins_anew(server: StandIn, api: ApiServer, tmp_path: Path) -> None:
    server.lists["pods"] = pods(25)
    server.answer("continue=from-20", expired(), times=2)
    assert write_list(api, KINDS["pods"], tmp_path) is None
    assert names(written(tmp_path, "pods")["items"]) == [f"p{number}" for number in range(25)]
    assert len(queries(server)) == 9


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("token", ["from-8", ""])
def test_a_list_that_is_always_forgotten_is_given_up(
    token: str, server: StandIn, api: ApiServer, tmp_path: Path
) -> None:
    server.lists["pods"] = pods(25)
    server.answer("continue=", expired(token))
    write_list(api, KINDS["pods"], tmp_path)
    reason, message = recorded(tmp_path, "pods")
    assert reason == "timeout"
    assert "too old (HTTP 410)" in message
    assert len(queries(server)) < 25


def test_pods_of_a_list_that_began_anew_are_asked_once_each(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "FIRST_PAGE", 10)
    monkeypatch.setattr(lists, "PAGE_BYTES", 1)
    with serving(h100(), pytester.path) as server:
        server.lists["pods"] += pods(10)
        server.answer("GET /api/v1/pods.*continue=", expired(), times=2)
        judge(pytester, server, "--readiness-probe", "exec")
        assert server.count(r"GET /api/v1/pods\?limit=\d+$") == 3
        asked = [request.path for request in server.requests if request.path.endswith("/exec")]
    assert len(asked) == len(set(asked)) == 4


# --- whole or not at all ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "List", "metadata": {}},
        {"kind": "List", "items": {}},
        {"kind": "List", "items": ""},
        {"kind": "List", "items": [None]},
        {"kind": "Status", "status": "Success"},
        {},
    ],
    ids=json.dumps,
)
def test_what_is_no_list_is_not_an_empty_one(body: Json, server: StandIn, api: ApiServer, tmp_path: Path) -> None:
    server.answer(PODS, Reply(body=body))
    with pytest.raises(Unmeasured, match="no list of objects"):
        list(list_items(api, PODS))
    problem = write_list(api, KINDS["pods"], tmp_path)
    assert problem is not None
    assert recorded(tmp_path, "pods") == ("unparsable", problem.message)


def test_items_that_are_null_are_none(server: StandIn, api: ApiServer, tmp_path: Path) -> None:
    server.answer(PODS, Reply(body={"kind": "PodList", "metadata": {}, "items": None}))
    assert write_list(api, KINDS["pods"], tmp_path) is None
    assert written(tmp_path, "pods")["items"] == []


def test_an_endless_list_is_given_up(server: StandIn, api: ApiServer) -> None:
    server.answer(PODS, Reply(body={"metadata": {"continue": "on"}, "items": pods(1)}), times=100)
    with pytest.raises(Unmeasured, match="has no end"):
        list(list_items(api, PODS))
    assert len(queries(server)) == 2


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (refusal(500, "etcd leader changed"), "timeout"),
        (refusal(403, "not any more"), "denied"),
        (Reply(body=b'{"items": [{"metadata"'), "unparsable"),
        (Reply(body=b'{"items": []}' + b" " * 500, cut=100), "timeout"),
        (Reply(body={"items": pods(1, 10_000_000)}), "unparsable"),
    ],
    ids=["500", "403", "no-json", "cut", "large"],
)
def test_a_page_that_cannot_be_read_leaves_nothing_of_the_list(
    reply: Reply, reason: str, server: StandIn, api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "PAGE_SECONDS", 0.7)
    monkeypatch.setattr(lists, "MAX_PAGE", 1 << 20)
    server.lists["pods"] = pods(25)
    server.answer("continue=from-20", reply)
    problem = write_list(api, KINDS["pods"], tmp_path)
    assert problem is not None
    assert recorded(tmp_path, "pods") == (reason, problem.message)


def test_a_passing_fault_is_waited_for_as_the_server_asks(server: StandIn, api: ApiServer) -> None:
    server.lists["pods"] = pods(3)
    server.answer(PODS, Reply(429, {"message": "busy"}, (("Retry-After", "0"),)), times=1)
    server.answer(PODS, refusal(503), times=1)
    assert len(list(list_items(api, PODS))) == 3
    assert len(queries(server)) == 3


def test_what_is_written_reads_as_what_kubectl_prints(server: StandIn, api: ApiServer, tmp_path: Path) -> None:
    server.lists |= {"pods": pods(2), "nvidiadrivers": pods(1), "poddisruptionbudgets": []}
    for name in ("pods", "nvidiadrivers", "poddisruptionbudgets"):
        assert write_list(api, KINDS[name], tmp_path) is None
        found = written(tmp_path, name)
        assert found["kind"] == f"{KINDS[name].kind}List"
        assert found["apiVersion"] == KINDS[name].groups[0]
        data = (tmp_path / f"{name}.json").read_bytes()
        assert names(iter_items(data, name, (KINDS[name].kind,))) == names(server.lists[name])


def test_only_what_is_wanted_is_kept(server: StandIn, api: ApiServer, tmp_path: Path) -> None:
    server.lists["pods"] = pods(5)
    write_list(api, KINDS["pods"], tmp_path, lambda item: item["metadata"]["name"] in ("p1", "p4"))
    assert names(written(tmp_path, "pods")["items"]) == ["p1", "p4"]


# --- versions and rights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1", "v1beta2", "v1beta1"])
def test_a_kind_is_read_by_the_version_that_there_is(
    version: str, server: StandIn, api: ApiServer, tmp_path: Path
) -> None:
    devices = [{"name": "gpu-0", "attributes": {"uuid": {"string": "GPU-1"}}}]
    if version == "v1beta1":
        devices = [{"name": "gpu-0", "basic": {"attributes": {"uuid": {"string": "GPU-1"}}}}]
    spec = {"driver": "gpu.nvidia.com", "nodeName": "gpu-1", "pool": {"name": "gpu-1"}, "devices": devices}
    server.lists = {"resourceslices": [{"metadata": {"name": "s"}, "spec": spec}], "nodes": pods(1)}
    server.served["resourceslices"] = f"resource.k8s.io/{version}"
    place = tmp_path / "cluster"
    place.mkdir()
    for name in ("nodes", "resourceslices"):
        assert write_list(api, KINDS[name], place) is None
    assert written(place, "resourceslices")["apiVersion"] == f"resource.k8s.io/{version}"
    cluster = Cluster(Snapshot(tmp_path, ""))
    assert cluster.nodes_with_slices == {"gpu-1"}
    assert [device.uuid for each in cluster.slices_of("gpu-1") for device in each.devices] == ["GPU-1"]


def test_a_fleet_whose_api_server_is_older_is_judged_alike(pytester: pytest.Pytester) -> None:
    fleet = dra()
    fleet.pods.append(h100().pod("nvidia-dcgm-exporter"))
    with serving(fleet, pytester.path) as server:
        server.served |= dict.fromkeys(("resourceslices", "resourceclaims", "deviceclasses"), "resource.k8s.io/v1beta1")
        done = judge(pytester, server)
    assert done.code == 0, done.said


@pytest.mark.parametrize("denied", [False, True])
def test_a_kind_that_no_version_has_is_missing(denied: bool, server: StandIn, api: ApiServer, tmp_path: Path) -> None:
    if denied:
        server.forbidden.add("list resourceslices")
    write_list(api, KINDS["resourceslices"], tmp_path)
    said = ("missing", "this cluster has no resourceslices.resource.k8s.io")
    assert recorded(tmp_path, "resourceslices") == said


@pytest.mark.parametrize("discovery", [None, refusal(403), refusal(500), Reply(body=b"what?")])
def test_a_kind_that_is_there_is_denied_and_so_is_one_of_which_nothing_is_known(
    discovery: Reply | None, server: StandIn, api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ApiServer, "pause", lambda self, seconds: None)
    server.forbidden.add("list resourceslices")
    server.served["resourceslices"] = "resource.k8s.io/v1beta1"
    server.lists["resourceslices"] = []
    if discovery is not None:
        server.answer("/apis/resource.k8s.io/v1beta1$", discovery)
    write_list(api, KINDS["resourceslices"], tmp_path)
    reason, message = recorded(tmp_path, "resourceslices")
    assert reason == "denied"
    assert message.endswith('needed: apiGroups: ["resource.k8s.io"], resources: ["resourceslices"], verbs: ["list"]')


def test_a_kind_of_the_core_is_there_and_denied(server: StandIn, api: ApiServer, tmp_path: Path) -> None:
    server.forbidden.add("list pods")
    write_list(api, KINDS["pods"], tmp_path)
    assert recorded(tmp_path, "pods")[0] == "denied"
    assert server.count("GET /api/v1$") == 0


def test_a_refusal_that_stays_is_handed_on(server: StandIn, api: ApiServer) -> None:
    server.answer(PODS, refusal(418, "I'm a teapot"))
    with pytest.raises(Refused, match="teapot") as problem:
        list(list_items(api, PODS))
    assert problem.value.status == 418
    assert len(queries(server)) == 1


# --- secrets ---------------------------------------------------------------------------------------------------

SECRET = "s3cret"


def _with_secrets(pod: Json) -> None:
    """Where pods carry passwords along."""
    pod["metadata"]["annotations"] = {"vault.example.com/token": SECRET, "kubectl.kubernetes.io/last-applied": SECRET}
    pod["metadata"]["managedFields"] = [{"manager": SECRET}]
    container = pod["spec"]["containers"][0]
    container |= {"args": ["--password", SECRET], "command": ["run", SECRET]}
    container["env"] = [
        {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"},
        {"name": "NVIDIA_API_KEY", "value": SECRET},
        {"name": "PASSWORD", "value": SECRET},
        {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": SECRET}}},
    ]
    container["livenessProbe"] = {"exec": {"command": [SECRET]}}
    pod["spec"]["volumes"] = [{"name": "v", "secret": {"secretName": SECRET}}]


def test_secrets_never_reach_the_disk(tmp_path: Path) -> None:
    fleet = h100()
    for pod in fleet.pods:
        _with_secrets(pod)
    fleet.node["metadata"]["annotations"]["example.com/token"] = SECRET
    template = {"metadata": {}, "spec": {"containers": [{"name": "c"}]}}
    _with_secrets(template)
    fleet.lists["daemonsets"] = [{"metadata": {"name": "d"}, "spec": {"template": template}}]
    policy = fleet.lists["clusterpolicies"][0]
    policy["spec"] = {"driver": {"env": [{"name": "HTTPS_PROXY", "value": SECRET}], "args": [SECRET]}}
    about = {"kind": "Node", "name": "gpu-1"}
    note = {"name": "e", "annotations": {"token": SECRET}}
    fleet.lists["events"] = [
        {"metadata": note, "involvedObject": about, "reason": "Rebooted", "message": "Node has been rebooted"},
        {"metadata": {"name": "f"}, "involvedObject": about, "reason": "Other", "message": SECRET},
    ]
    fleet.write(tmp_path / "served")
    assert SECRET in (tmp_path / "served" / "cluster" / "pods.json").read_text()
    folder = tmp_path / "gathered"
    with StandIn(tmp_path / "served") as server:
        api = ApiServer.connect(str(server.kubeconfig(tmp_path)))
        gather(api, folder, Wishes(), lambda said: None)
        api.stop()
    found = {path.name: path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}
    assert not [name for name, text in found.items() if SECRET in text]
    assert {"name": "PASSWORD"} in written(folder / "cluster", "pods")["items"][0]["spec"]["containers"][0]["env"]
    assert '"NVIDIA_VISIBLE_DEVICES","value":"all"' in found["pods.json"]
    assert [each["reason"] for each in written(folder / "cluster", "events")["items"]] == ["Rebooted"]


def test_pods_of_other_nodes_are_not_kept(tmp_path: Path) -> None:
    fleet = h100(nodes=2)
    fleet.pods.append({"metadata": {"name": "other", "namespace": "n"}, "spec": {"nodeName": "cpu-1"}})
    fleet.pods.append({"metadata": {"name": "pending", "namespace": "n"}, "spec": {}})
    fleet.write(tmp_path / "served")
    with StandIn(tmp_path / "served") as server:
        api = ApiServer.connect(str(server.kubeconfig(tmp_path)))
        gather(api, tmp_path / "gathered", Wishes(driver=False, nodes="gpu-2"), lambda said: None)
        api.stop()
    kept = written(tmp_path / "gathered" / "cluster", "pods")["items"]
    nodes = {each["spec"].get("nodeName") for each in kept}
    assert nodes == {"gpu-1", "gpu-2", None}
    assert {path.name for path in (tmp_path / "gathered" / "nodes").iterdir()} == {"gpu-2"}
