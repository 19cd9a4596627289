"""The command line: thin, for whatever it can do, pytest can."""

from __future__ import annotations

import atexit
import os
import sys
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
    if any(argument in ("--help", "-h") for argument in context.args):
        from gpu_readiness.plugin import describe_options

        typer.echo(describe_options())
        raise typer.Exit
    from gpu_readiness.plugin import run

    raise typer.Exit(run(["--pyargs", "gpu_readiness.checks", *context.args]))


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
