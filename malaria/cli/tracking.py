"""Commands for MLflow's store."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from malaria.cli import root


def sync(
    rev: Annotated[
        str | None, typer.Option(help="commits instead of the work tree: A..B, or one revision")
    ] = None,
    all_commits: Annotated[
        bool, typer.Option("--all-commits", help="also all commits of all branches and tags")
    ] = False,
    experiments: Annotated[
        bool, typer.Option("--experiments", help="also the DVC experiments in Git")
    ] = False,
    as_json: root.AsJson = False,
) -> None:
    """Rebuild missing MLflow runs from Git, dvc.lock and DVC's cache. Safe to repeat.

    Files that the cache lacks are named and skipped; if a remote has them, fetch and sync again.
    """
    from malaria.pipeline.history import select, worktree

    revisions = select(root.ROOT, rev, all_commits, experiments)
    root.tell("MLflow's store is compared with Git and DVC's cache")
    from malaria.tracking.sync import sync as sync_store
    from malaria.tracking.sync_result import summary_of

    synced = sync_store(root.ROOT, revisions if rev else [*revisions, worktree(root.ROOT)])
    if as_json:
        typer.echo(json.dumps(synced, default=asdict, indent=2))
        return
    for note in synced.notes:
        typer.echo(f"sync: {note}", err=True)
    typer.echo(summary_of(synced, root.ROOT))


def runs(
    file: Annotated[str, typer.Argument(metavar="PATH|MD5", help="a file, or its MD5")],
    as_json: root.AsJson = False,
) -> None:
    """List the runs that read or made a file; exit with 1 if there are none."""
    root.tell("MLflow's store is searched")
    from malaria.tracking.lineage import show, uses_of

    found = uses_of(root.ROOT, file)
    if as_json:
        typer.echo(json.dumps(found, default=asdict, indent=2))
    elif found:
        typer.echo(show(found))
    if not found:
        typer.echo(f"no run of the store read or made {file}", err=True)
        raise typer.Exit(1)


def ui(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="(default: 5000 or, if taken, a free one)")
    ] = None,
) -> None:
    """Show the runs in MLflow's web interface until Ctrl-C, and print its address."""
    root.tell("MLflow's interface starts, on a busy machine within a minute")
    from malaria.tracking.ui import show

    show(root.ROOT, host, port, typer.echo, lambda text: typer.echo(f"ui: {text}", err=True))
