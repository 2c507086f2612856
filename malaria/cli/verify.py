"""The command that runs committed models again."""

import secrets
from typing import Annotated

import typer

from malaria.cli import root
from malaria.cli.gate import Head

SAMPLE = 300
# Share of a logit, of 1 for smaller ones; it moves a probability by at most a quarter of that. The
# same kind of machine gives the committed digits. Rounding to bfloat16 moved a logit by 0.043.
TOLERANCE = 0.05


def verify(
    folders: Annotated[
        list[str] | None, typer.Argument(help="pipelines (default: all with predictions)")
    ] = None,
    head: Head = None,
    cells: Annotated[
        int, typer.Option(min=1, help="test cells, and as many val cells, that are drawn")
    ] = SAMPLE,
    all_cells: Annotated[bool, typer.Option("--all", help="predict all of them")] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, help="of the draw (default: a new one, which is shown)")
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0, help="largest difference of a logit, as a share; another machine rounds"
        ),
    ] = TOLERANCE,
    where_remote: Annotated[
        bool, typer.Option("--where-remote", help="leave out pipelines whose DVC has no remote")
    ] = False,
    retrain: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="also train N epochs; runs the revision's code"),
    ] = None,
    history_tolerance: Annotated[
        float, typer.Option(min=0, help="largest difference of a loss or accuracy of --retrain")
    ] = 0,
) -> None:
    """Check that committed predictions are those of the locked model; exit with 1 if they are not.

    Model and images come from DVC's cache or the remote, by the hashes in dvc.lock. --retrain also
    checks that the training code gives the committed history. On the machine that made them both
    are equal, so another kind of machine needs a tolerance.
    """
    root.tell("committed predictions are made again")
    from malaria.gate.retrain import verify_history
    from malaria.gate.tree import commit_to_read
    from malaria.gate.verify import verify_predictions
    from malaria.paths import PIPELINES, PREDICTIONS, from_remote
    from malaria.pipeline.git import find_blob
    from malaria.pipeline.stages import place

    commit = commit_to_read(root.ROOT, head)
    chosen = [root.chosen(folder) for folder in folders or ()] or [
        folder
        for folder in PIPELINES
        if find_blob(root.ROOT, commit, place(folder, PREDICTIONS)) is not None
    ]
    if where_remote:
        for folder in [one for one in chosen if not from_remote(root.ROOT, one, "fetch")]:
            typer.echo(f"{folder}: its DVC has no remote, so nothing is verified")
            chosen.remove(folder)
    drawn = secrets.randbelow(2**31) if seed is None else seed
    has_failed = False
    for folder in chosen:
        size = None if all_cells else cells
        checks = [verify_predictions(root.ROOT, folder, commit, size, drawn, tolerance)]
        if retrain is not None:
            checks.append(verify_history(root.ROOT, folder, commit, retrain, history_tolerance))
        for check in checks:
            verdict = "WRONG" if check.faults else "ok"
            typer.echo("\n  ".join([f"{folder}: {verdict}: {check.done}", *check.faults]))
            has_failed = has_failed or bool(check.faults)
    if not chosen:
        typer.echo("no folder has committed predictions, so there is nothing to verify")
    if has_failed:
        raise typer.Exit(1)
