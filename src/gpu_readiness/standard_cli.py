"""`gpu-readiness standard`: list, show, validate and learn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="standard", help="Node standards: list, show, validate and learn them.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(help="A shipped name, a YAML file or a folder of them.")]


@app.command("list")
def list_standards() -> None:
    """List the shipped standards."""
    from gpu_readiness.standard import Library

    library = Library.load()
    names = library.names()
    width = max(map(len, names))
    for name in names:
        typer.echo(f"{name:<{width}}  {library.get(name).title}")


@app.command()
def show(name: Annotated[str, typer.Argument(help="A shipped name or a YAML file.")]) -> None:
    """Show what a standard says, all it extends included, and who says so."""
    from gpu_readiness.standard import Library, StandardError
    from gpu_readiness.standard.document import read_document
    from gpu_readiness.standard.show import rows

    try:
        library = Library.load([name])
        standard = library.get(name if name in library.names() else read_document(Path(name)).name)
    except StandardError as problem:
        raise _refused(problem) from None
    typer.echo(f"{standard.name}: {standard.title}")
    for row in rows(standard):
        source = f"  # {row.source}" if row.source else ""
        typer.echo(f"{row.hardware + ' ' if row.hardware else ''}{row.path}: {row.text}{source}")


@app.command()
def validate(names: Names) -> None:
    """Say whether standards can be used; one line for each that cannot, and exit code 4."""
    from gpu_readiness.standard import Library, StandardError

    broken = False
    for name in names:
        try:
            Library.load([name])
        except StandardError as problem:
            typer.echo(str(problem), err=True)
            broken = True
        else:
            typer.echo(f"{name}: good")
    raise typer.Exit(4 if broken else 0)


@app.command()
def learn(
    snapshot: Annotated[Path, typer.Option(help="The snapshot of golden nodes, or of a fleet.")],
    name: Annotated[str, typer.Option(help="The new standard's name.")],
    nodes: Annotated[str, typer.Option(help="Label selector, or names and globs.")] = "",
    output: Annotated[Path | None, typer.Option(help="File to write; standard output without it.")] = None,
) -> None:
    """Write a standard from golden nodes or a fleet's majority, and say what is not sure."""
    from gpu_readiness.evidence.snapshot import SnapshotError, open_snapshot
    from gpu_readiness.observe import observe
    from gpu_readiness.run import Engine, Settings, UsageProblem
    from gpu_readiness.standard import StandardError
    from gpu_readiness.standard.learn import learn as learn_from

    try:
        with open_snapshot(snapshot) as source:
            engine = Engine(source, Settings(nodes=nodes))
            learned = learn_from([observe(engine.node(each)) for each in engine.nodes], name)
    except (SnapshotError, UsageProblem, StandardError) as problem:
        raise _refused(problem) from None
    if output is None:
        typer.echo(learned.text)
    else:
        try:
            output.write_text(learned.text, encoding="utf-8")
        except OSError as problem:
            raise _refused(ValueError(f"{output}: cannot be written: {problem.strerror}")) from None
        count = len(engine.nodes)
        typer.echo(f"wrote {output}, learnt from {count} node{'s' if count > 1 else ''}")
    for doubt in learned.doubts:
        typer.echo(f"not sure: {doubt}", err=True)


def _refused(problem: Exception) -> typer.Exit:
    from gpu_readiness.reports.text import clean

    typer.echo(clean(str(problem)), err=True)
    return typer.Exit(4)
