"""The command line: thin, for whatever it can do, pytest can."""

from __future__ import annotations

import atexit
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gpu_readiness import __version__, standard_cli

app = typer.Typer(
    name="gpu-readiness",
    help="Say which GPU nodes of a Kubernetes cluster are ready, which are not, and why.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class _Depth(StrEnum):
    AUTO = "auto"
    API = "api"
    SMI = "smi"


class _Probe(StrEnum):
    AUTO = "auto"
    POD = "pod"
    DRA = "dra"
    EXEC = "exec"
    NONE = "none"


_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gpu-readiness {__version__}")
        raise typer.Exit


app.add_typer(standard_cli.app)


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command(context_settings=_PASS_ON)
def check(context: typer.Context) -> None:
    """Judge nodes: pytest --pyargs gpu_readiness.checks with the same options and exit code.

    Further arguments are pytest's own: folders with checks of yours, -k, -x, -v, -q.
    """
    arguments = ["--readiness-explain-access" if each == "--explain-access" else each for each in context.args]
    if any(argument in ("--help", "-h") for argument in arguments):
        from gpu_readiness.plugin import describe_options

        typer.echo(describe_options())
        raise typer.Exit
    from gpu_readiness.plugin import run, with_source

    raise typer.Exit(run(["--pyargs", "gpu_readiness.checks", *with_source(arguments)]))


@app.command()
def snapshot(
    output: Annotated[Path, typer.Option(help="A folder that is not there yet, or a .tar.gz.")],
    redact: Annotated[bool, typer.Option("--redact", help="Replace serials, UUIDs and addresses.")] = False,
    kubeconfig: Annotated[str | None, typer.Option("--readiness-kubeconfig", help="Of which cluster.")] = None,
    context: Annotated[str | None, typer.Option("--readiness-context", help="Of which cluster.")] = None,
    nodes: Annotated[str, typer.Option("--readiness-nodes", help="Label selector, or names and globs.")] = "",
    standards: Annotated[
        list[str] | None, typer.Option("--readiness-standard", help="Standards that name nodes to read; repeatable.")
    ] = None,
    depth: Annotated[
        _Depth, typer.Option("--readiness-depth", help="How far down to look; api asks no driver.")
    ] = _Depth.AUTO,
    probe: Annotated[_Probe, typer.Option("--readiness-probe", help="How nvidia-smi is asked for.")] = _Probe.AUTO,
    seconds: Annotated[
        float, typer.Option("--readiness-probe-timeout", min=1, max=3600, help="Seconds that one way may take.")
    ] = 180.0,
    image: Annotated[str, typer.Option("--readiness-probe-image", help="Image of the probe's pods.")] = "",
    namespace: Annotated[str, typer.Option("--readiness-namespace", help="Namespace of the probe's pods.")] = "",
    prometheus: Annotated[str, typer.Option("--readiness-prometheus", help="A URL, auto or none.")] = "auto",
) -> None:
    """Save what a run over a live cluster would read, to be judged elsewhere.

    Options are those of `gpu-readiness check`. Exit code 6: something could not be read, and is recorded as such.
    """
    from gpu_readiness.cluster.source import ClusterOptions
    from gpu_readiness.snapshot_cli import save_snapshot

    options = ClusterOptions(
        kubeconfig,
        context,
        namespace,
        probe,
        image,
        seconds,
        nodes,
        depth,
        tuple(standards or ()),
        prometheus=prometheus,
    )
    raise typer.Exit(save_snapshot(options, output, redact=redact))


@app.command()
def demo(
    nodes: Annotated[int, typer.Option(help="How many nodes the fleet has.")] = 24,
    output: Annotated[Path, typer.Option(help="Folder for snapshot, standards and report.")] = Path("readiness-demo"),
) -> None:
    """Judge a made-up fleet, no GPU and no cluster needed: exit code 0 if exactly the seeded faults are found."""
    from gpu_readiness.demo.command import demo as run_demo

    raise typer.Exit(run_demo(nodes, output))


def main() -> None:
    """Entry point of the `gpu-readiness` script.

    The process ends without taking hundreds of thousands of test items apart one by one, which takes seconds.
    """
    code: object = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
        # By 2 pytest means an interruption, and only a command of ours hands that on; typer means a wrong command line.
        if code == 2 and not isinstance(end.__context__, typer.Exit):
            code = 4
    if code is not None and not isinstance(code, int):
        sys.exit(str(code))
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)
