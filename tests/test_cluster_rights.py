"""The roles in deploy/rbac are what the code needs, no more and no less, each with the sentence why."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gpu_readiness.cluster.kinds import LISTED
from gpu_readiness.cluster.rights import RUNGS, Rung

RBAC = Path(__file__).parents[1] / "deploy" / "rbac"


def rules_of(rung: Rung) -> dict[str, list[tuple[str, str, str]]]:
    """Rules by the kind of role, as (group, resource, verb)."""
    found: dict[str, list[tuple[str, str, str]]] = {"ClusterRole": [], "Role": []}
    for document in yaml.safe_load_all((RBAC / f"{rung.name}.yaml").read_text(encoding="utf-8")):
        assert document["metadata"]["name"] == f"gpu-readiness-{rung.name}"
        for rule in document["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    found[document["kind"]] += [(group, resource, verb) for verb in rule["verbs"]]
    return found


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
def test_a_role_has_just_the_rights_of_its_rung(rung: Rung) -> None:
    found = rules_of(rung)
    for kind, own in (("ClusterRole", False), ("Role", True)):
        needed = [(right.group, right.resource, right.verb) for right in rung.rights if right.own is own]
        assert sorted(found[kind]) == sorted(needed)


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
def test_every_rule_says_why(rung: Rung) -> None:
    lines = (RBAC / f"{rung.name}.yaml").read_text(encoding="utf-8").splitlines()
    rules = [index for index, line in enumerate(lines) if line.startswith("  - apiGroups")]
    said = [lines[index - 1].removeprefix("  # ") for index in rules]
    assert said == [right.why for own in (False, True) for right in rung.rights if right.own is own]


def test_there_is_a_file_for_each_rung_and_no_other() -> None:
    assert {path.stem for path in RBAC.glob("*.yaml")} == {rung.name for rung in RUNGS}


def test_nothing_of_ours_reads_secrets_or_configuration() -> None:
    resources = {right.resource for rung in RUNGS for right in rung.rights}
    assert resources.isdisjoint({"secrets", "configmaps", "*"})
    assert {kind.name for kind in LISTED} <= resources
