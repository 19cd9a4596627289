"""`gpu-readiness snapshot`: what a live run would read, saved, to be mailed and judged elsewhere."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from gpu_readiness.cluster.access import AccessProblem
from gpu_readiness.cluster.source import ClusterOptions, gather_cluster
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.redact import Redactor
from gpu_readiness.standard import StandardError
from gpu_readiness.verdict import ExitCode

_ARCHIVES = (".tar.gz", ".tgz")


def save_snapshot(options: ClusterOptions, output: Path, *, redact: bool) -> int:
    """Gather a cluster and save it in `output`, a folder that is not there yet or a `.tar.gz`; says what came of it.

    Nothing is at `output` before all of it is.

    Returns:
        An exit code: 0 if every node was read, 6 if something could not be read, 4 if nothing could be saved.
    """
    out = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        out.print(f"error: --output {output}: is there already; name a folder or archive that is not")
        return ExitCode.USAGE
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            scratch = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            gathered = scratch / "snapshot"
            with out.status("connecting") as status:
                name = gather_cluster(options, gathered, lambda said: status.update(said) if out.is_terminal else None)
            if redact:
                Redactor().tree(gathered, scratch / "redacted")
                gathered = scratch / "redacted"
            refusal = gathered / "cluster" / "nodes.json.error"
            if refusal.is_file():
                raise AccessProblem(f"cluster {name}: {json.loads(refusal.read_text(encoding='utf-8'))['message']}")
            nodes, gaps = _counts(gathered)
            _move(gathered, output)
    except (AccessProblem, StandardError, Unmeasured) as problem:
        out.print(f"error: {problem}")
        return ExitCode.USAGE
    except OSError as problem:
        out.print(f"error: --output {output}: {problem.strerror or problem}")
        return ExitCode.USAGE
    shown = f"{gaps} artefacts could not be read; each has an .error file that says why" if gaps else "all was read"
    Console(highlight=False, markup=False, soft_wrap=True).print(f"{output}: cluster {name}, {nodes} nodes; {shown}")
    return ExitCode.UNKNOWN if gaps else ExitCode.READY


def _counts(folder: Path) -> tuple[int, int]:
    """Nodes that were read, and artefacts of theirs that could not be."""
    nodes = list((folder / "nodes").iterdir()) if (folder / "nodes").is_dir() else []
    gaps = sum(1 for node in nodes for each in node.iterdir() if each.suffix == ".error")
    return len(nodes), gaps


def _move(folder: Path, output: Path) -> None:
    if output.name.endswith(_ARCHIVES):
        packed = folder.parent / "packed"
        with tarfile.open(packed, "w:gz", compresslevel=6) as archive:
            archive.add(folder, arcname=output.name.partition(".tar")[0].removesuffix(".tgz"))
        packed.replace(output)
        return
    if output.is_dir():
        output.rmdir()
    folder.replace(output)
