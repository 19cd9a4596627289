"""What an identity can and cannot do, rung by rung, as a table for a person."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gpu_readiness.cluster.access import ApiServer, Refused
from gpu_readiness.cluster.rights import RUNGS, Rights
from gpu_readiness.evidence.reading import Unmeasured

if TYPE_CHECKING:
    from rich.console import Console

#: Seconds to find out whether there is anybody to ask.
_REACH_SECONDS = 15.0
_WORDS = {True: "[green]yes[/]", False: "[red]no[/]", None: "[yellow]not said[/]"}


def explain_access(api: ApiServer, namespace: str, out: Console) -> bool:
    """Print every right that a run may use, whether the identity has it, and what for; nothing is created.

    Returns:
        Whether the identity has, for sure, all that the first rung needs, without which nodes are unknown.
    """
    from rich.markup import escape
    from rich.table import Table

    rights = Rights(api, namespace)
    out.print(f"cluster {escape(api.name)} ({escape(api.host)}), pods of our own in namespace {escape(namespace)}")
    with suppress(Refused):  # whoever may not see even that may still ask what he may
        try:
            api.get("/version", seconds=_REACH_SECONDS)
        except Unmeasured as problem:
            out.print(f"[red]{escape(problem.message)}[/]")
            return False
    for rung in RUNGS:
        lacking = rights.missing(rung.rights)
        unsaid = sum(rights.has(right) is None for right in rung.rights)
        if lacking:
            word = f"[red]{len(lacking)} of {len(rung.rights)} rights missing[/]"
        else:
            word = f"[yellow]{unsaid} of {len(rung.rights)} rights not said[/]" if unsaid else "[green]open[/]"
        table = Table(title=f"{rung.name}: {escape(rung.title)}: {word}", title_justify="left", box=None, pad_edge=True)
        for column in ("allowed", "verb", "resource", "why"):
            table.add_column(column, overflow="fold")
        for right in rung.rights:
            where = f" in {namespace}" if right.own else ""
            resource = f"{right.resource}.{right.group}" if right.group else right.resource
            table.add_row(_WORDS[rights.has(right)], right.verb, escape(resource + where), escape(right.why))
        out.print(table)
        if lacking:
            out.print(
                f"  to allow it: kubectl apply -f deploy/rbac/{rung.name}.yaml, and bind the role to this identity"
            )
    return all(rights.has(right) for right in RUNGS[0].rights)
