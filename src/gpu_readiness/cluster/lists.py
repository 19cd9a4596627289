"""Lists of whole kinds: paged, pruned of secrets, and written item by item."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gpu_readiness.cluster.access import ApiServer, Refused, as_unmeasured
from gpu_readiness.cluster.kinds import Kind
from gpu_readiness.evidence.kube import mapping, sequence, text
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.redact import prune
from gpu_readiness.verdict import Reason

Json = dict[str, Any]

#: Seconds for one page, and bytes of it. Page sizes follow from what the first page's items weigh.
PAGE_SECONDS = 90.0
MAX_PAGE = 256 << 20
FIRST_PAGE = 500
PAGE_BYTES = 16 << 20
#: How often a list goes on, or begins anew, because the API server no longer knows where it was.
MAX_RESTARTS = 3


def list_items(api: ApiServer, path: str, *, selectors: Mapping[str, str] | None = None) -> Iterator[Json]:
    """The objects of a list, read page by page; of an object that two pages have, the first.

    Where the API server has forgotten the version that the list began with, it offers to go on with a newer one; then
    an object may come twice.

    Raises:
        Refused, Unmeasured: as `ApiServer.get`; Refused with status 410 if the list has to begin anew.
    """
    limit, token, resumed = FIRST_PAGE, "", 0
    seen: set[str] = set()
    while True:
        query = {**(selectors or {}), "limit": limit} | ({"continue": token} if token else {})
        try:
            page = api.get(path, seconds=PAGE_SECONDS, limit=MAX_PAGE, query=query)
        except Refused as problem:
            resumed += 1
            token = text(mapping(problem.details.get("metadata")).get("continue"))
            if problem.status != 410 or not token or resumed > MAX_RESTARTS:
                raise
            continue
        items = page.get("items", "none")
        items = [] if items is None else items
        if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
            raise Unmeasured(Reason.UNPARSABLE, f"{path} answered something that is no list of objects")
        limit = _fitting(items) if not token else limit
        sent, token = token, text(mapping(page.get("metadata")).get("continue"))
        if token and token == sent:
            raise Unmeasured(Reason.UNPARSABLE, f"{path} has no end: a page goes on with itself")
        if token or seen:
            items = [each for each in items if _new(each, seen)]
        yield from items
        if not token:
            return


def write_list(
    api: ApiServer,
    kind: Kind,
    folder: Path,
    keep: Callable[[Json], bool] = lambda item: True,
    *,
    selectors: Mapping[str, str] | None = None,
) -> Unmeasured | None:
    """Write a kind as `<folder>/<kind>.json`, or what kept us from it as `<kind>.json.error`.

    Args:
        api: where from.
        kind: what.
        folder: where to; it is there.
        keep: sees every item, in the form in which it is written, and says whether it is; it sees them again where the
            list has to begin anew.
        selectors: as the API takes them.

    Returns:
        What kept us from it; None if it was written.
    """
    target = folder / f"{kind.name}.json"
    try:
        _first_served(api, kind, target, keep, selectors)
    except (Refused, Unmeasured) as problem:
        found = _told_apart(api, kind, as_unmeasured(problem, target.name, kind.rule))
    except RecursionError:
        found = Unmeasured(Reason.UNPARSABLE, f"an object of {kind.name} nests too deep", target.name)
    else:
        return None
    target.unlink(missing_ok=True)
    record(folder, target.name, found)
    return found


def record(folder: Path, artefact: str, problem: Unmeasured) -> None:
    """Write down why an artefact is not there."""
    text = json.dumps({"reason": problem.reason.value, "message": problem.message})
    (folder / f"{artefact}.error").write_text(text, encoding="utf-8")


def _first_served(
    api: ApiServer, kind: Kind, target: Path, keep: Callable[[Json], bool], selectors: Mapping[str, str] | None
) -> None:
    """By the first version of the API that there is."""
    paths, restarts = kind.paths(), 0
    while paths:
        try:
            _write(list_items(api, paths[0], selectors=selectors), kind, paths[0], target, keep)
            return
        except Refused as problem:
            restarts += problem.status == 410
            if problem.status == 404:
                paths.pop(0)
            elif problem.status != 410 or restarts > MAX_RESTARTS:
                raise
    raise Unmeasured(Reason.MISSING, f"this cluster has no {kind.name}.{kind.group}", target.name)


def _write(items: Iterator[Json], kind: Kind, path: str, target: Path, keep: Callable[[Json], bool]) -> None:
    separator = "\n"
    version = path.removeprefix("/apis/").removeprefix("/api/").rpartition("/")[0]
    with target.open("w", encoding="utf-8", errors="replace") as file:
        file.write(json.dumps({"apiVersion": version, "kind": f"{kind.kind}List"})[:-1] + ', "items": [')
        for item in items:
            pruned = prune(kind.name, item)
            if keep(pruned):
                file.write(separator + json.dumps(pruned, ensure_ascii=False, separators=(",", ":")))
                separator = ",\n"
        file.write("\n]}\n")


def _told_apart(api: ApiServer, kind: Kind, problem: Unmeasured) -> Unmeasured:
    """A kind that is not there is refused like one that is; discovery, which everybody may read, tells them apart."""
    if problem.reason is not Reason.DENIED or not kind.group:
        return problem
    served = False
    for group in kind.groups:
        try:
            found = api.get(f"/apis/{group}", seconds=10.0).get("resources")
        except Refused as answer:
            if answer.status != 404:
                return problem
            continue
        except Unmeasured:
            return problem
        served |= any(mapping(each).get("name") == kind.name for each in sequence(found))
    if served:
        return problem
    return Unmeasured(Reason.MISSING, f"this cluster has no {kind.name}.{kind.group}", problem.source)


def _fitting(items: list[Json]) -> int:
    """How many such items make a page of `PAGE_BYTES`; a few of them stand for all."""
    sample = items[:: max(1, len(items) // 10)]
    weight = sum(len(json.dumps(each)) for each in sample) / max(1, len(sample))
    return max(FIRST_PAGE, int(PAGE_BYTES / max(weight, 1.0)))


def _new(item: Json, seen: set[str]) -> bool:
    meta = mapping(item.get("metadata"))
    key = f"{meta.get('namespace')}/{meta.get('name')}"
    if key in seen:
        return False
    seen.add(key)
    return True
