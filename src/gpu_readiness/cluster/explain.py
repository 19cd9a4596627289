"""What an identity can and cannot do, rung by rung, as a table for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_readiness.cluster.access import ApiServer
from gpu_readiness.cluster.rights import RUNGS, Rights

if TYPE_CHECKING:
    from rich.console import Console

_WORDS = {True: "[green]yes[/]", False: "[red]no[/]", None: "[yellow]not said[/]"}


def explain_access(api: ApiServer, namespace: str, out: Console) -> bool:
    """Print every right that a run may use, whether the identity has it, and what for; nothing is created.

    Returns:
        Whether the identity has all that the first rung needs, without which nodes are unknown.
    """
    from rich.markup import escape
    from rich.table import Table

    rights = Rights(api, namespace)
    out.print(f"cluster {escape(api.name)} ({escape(api.host)}), pods of our own in namespace {escape(namespace)}")
    for rung in RUNGS:
        lacking = rights.missing(rung.rights)
        word = "[green]open[/]" if not lacking else f"[red]{len(lacking)} of {len(rung.rights)} rights missing[/]"
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
    return not rights.missing(RUNGS[0].rights)
