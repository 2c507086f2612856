"""The commands of `malaria` around MLflow's store."""

# What takes long to import (MLflow) is imported by the command that needs it.

import json
from dataclasses import asdict
from typing import Annotated

import typer

from malaria import root


def sync(
    rev: Annotated[
        str | None, typer.Option(help="commits instead of the work tree: A..B, or one revision")
    ] = None,
    all_commits: Annotated[
        bool, typer.Option("--all-commits", help="also all commits of all branches and tags")
    ] = False,
    experiments: Annotated[
        bool, typer.Option("--experiments", help="also the DVC experiments that are in Git")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print it for programs")] = False,
) -> None:
    """Make MLflow's store complete from Git, dvc.lock and DVC's cache; twice is as good as once.

    Files that the cache does not have are named and left out; fetch them and call it again.
    """
    from malaria.states import select, worktree
    from malaria.sync import summary_of
    from malaria.sync import sync as sync_store

    revisions = select(root.ROOT, rev, all_commits, experiments)
    synced = sync_store(root.ROOT, revisions if rev else [*revisions, worktree(root.ROOT)])
    if as_json:
        typer.echo(json.dumps(asdict(synced), indent=2))
        return
    for note in synced.notes:
        typer.echo(f"sync: {note}", err=True)
    typer.echo(summary_of(synced))


def runs(
    file: Annotated[str, typer.Argument(metavar="PATH|MD5", help="a file, or the MD5 of one")],
    as_json: Annotated[bool, typer.Option("--json", help="print it for programs")] = False,
) -> None:
    """List the runs that read or made a file; 1: there are none in the store."""
    from malaria.lineage import show, uses_of

    found = uses_of(root.ROOT, file)
    if as_json:
        typer.echo(json.dumps([asdict(use) for use in found], indent=2))
    elif found:
        typer.echo(show(found))
    if not found:
        typer.echo(f"no run of the store read or made {file}", err=True)
        raise typer.Exit(1)


def ui(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="default: 5000 or, if taken, a free one")
    ] = None,
) -> None:
    """Show the runs in MLflow's web interface, until Ctrl-C; prints its address."""
    from malaria import ui as web

    web.show(root.ROOT, host, port, typer.echo, lambda text: typer.echo(f"ui: {text}", err=True))
