"""Commands that compare committed results with the code, and with earlier results."""

import json
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from malaria.cli import root
from malaria.cli.gate_files import (
    Files,
    Params,
    Thresholds,
    check_options,
    judge_files,
)

HISTORY = "metrics_history.csv"
Head = Annotated[
    str | None,
    typer.Option(help="revision whose committed files are read (default: the work tree)"),
]


def lock_check(
    folders: Annotated[
        list[str] | None, typer.Argument(help="pipelines, from the root (default: all)")
    ] = None,
    head: Head = None,
    as_json: root.AsJson = False,
) -> None:
    """Check that committed results belong to the committed code and params; needs no data.

    So do kept experiments to their own locks, and, if no folder is named, the tables of README.md
    and docs/results.md to the results.

    Results that are not committed are checked too, and named. If Git has none of a folder's, as of
    the demo's, they fail the command only if the folder is named. With --head this checkout's code
    checks a revision, and nothing of that is run.
    """
    root.tell("locks are compared with code, params and results")
    from malaria.gate.lock_check import check_lock
    from malaria.gate.tree import checkout_of
    from malaria.paths import PIPELINES
    from malaria.studies.committed import check_experiments, check_tables

    chosen = [root.chosen(folder) for folder in folders or PIPELINES]
    with nullcontext(root.ROOT) if head is None else checkout_of(root.ROOT, head) as tree:
        states = [check_lock(tree, folder) for folder in chosen]
        committed = [
            *check_experiments(tree, chosen),
            *(() if folders else check_tables(tree)),
        ]
    if as_json:
        typer.echo(json.dumps([*states, *committed], default=asdict, indent=2))
    else:
        for state in states:
            typer.echo("\n  ".join([str(state), *state.reasons]))
            if state.remedy:
                typer.echo(f"  to run again: {', '.join(state.rerun)}; `{state.remedy}`")
        for one in committed:
            typer.echo("\n  ".join([str(one), *one.reasons]))
            if one.remedy:
                typer.echo(f"  remedy: {one.remedy}")
    is_stale = any(state.state == "stale" and (folders or state.in_git) for state in states)
    if is_stale or any(one.state == "stale" for one in committed):
        raise typer.Exit(1)


def gate(
    context: typer.Context,
    base: Annotated[str, typer.Option(help="branch that the head started from")] = "origin/main",
    head: Head = None,
    comment: Annotated[Path | None, typer.Option(help="file for the comment, in Markdown")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="file for all numbers")] = None,
    pictures: Annotated[
        str | None, typer.Option(help="web address of the head's files, for the pictures")
    ] = None,
    evaluate_base: root.EvaluateBase = False,
    files: Files = None,
    thresholds: Thresholds = None,
    params: Params = None,
) -> None:
    """Compare committed results with the base's.

    With --head this checkout's code judges the files that Git has at a revision, as data: nothing
    of it is run, and the work tree is not read.

    Exits with 0 if they may be merged, 1 if they are worse, gone or not comparable, 2 for broken
    input, 3 if a person must decide. The comment links to the run in MLflow if
    $MLFLOW_TRACKING_URI is a server that has it.

    With --files it judges two tables of scores by the same rules, without Git: docs/gate_files.md.
    """
    check_options(context)
    if files is not None:
        judge_files(files, thresholds, params, comment, as_json)
        return
    root.tell(f"committed results are compared with those of {base}")
    from malaria.core.files import write_file
    from malaria.gate.folder import gate_all
    from malaria.gate.predictions import shown
    from malaria.tracking.link import run_address

    found = gate_all(
        root.ROOT,
        base,
        head,
        pictures,
        evaluate_base,
        partial(run_address, root.ROOT, head=head),
    )
    for path in found.changed_judges:
        typer.echo(f"changed file that judges: {shown(path)}")
    for path in found.changed_kept:
        typer.echo(f"kept result, not judged, that is changed or gone: {shown(path)}")
    for each in found.folders:
        judgement = each.judgement
        typer.echo("\n  ".join([f"{each.folder}: {judgement.outcome}", *judgement.reasons]))
        for change in each.changed_rules:
            typer.echo(f"  changed rule of the gate: {shown(change.key)}")
    if comment is not None:
        write_file(comment, found.comment)
    if as_json is not None:
        content = {each.folder: each.content() for each in found.folders}
        write_file(as_json, json.dumps(content, indent=2) + "\n")
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def history(
    folder: root.Folder = None,
    ref: Annotated[
        str, typer.Option(help="branch, tag or commit; only first parents count")
    ] = "main",
) -> None:
    """Show test metrics over a branch's commits, also as FOLDER/metrics_history.csv and .png."""
    from malaria.pipeline.git import predicted_folders

    folder = root.chosen(folder, "committed predictions", lambda top, _: predicted_folders(top))
    root.tell(f"results of the commits of {ref} are read")
    from malaria.core.params import load
    from malaria.gate.history import by_commit, draw_history, read_history
    from malaria.paths import PARAMS
    from malaria.prediction.params import EvaluateParams
    from malaria.prediction.table import as_text, write_table

    params = load(EvaluateParams, root.ROOT / folder / PARAMS)
    found = read_history(root.ROOT, ref, folder, params.replicates, params.seed)
    for note in found.notes:
        typer.echo(f"history: {note}", err=True)
    path = root.ROOT / folder / HISTORY
    write_table(found.table, path)
    picture = path.with_suffix(".png")
    draw_history(found.table, picture, f"{folder} on {ref}")
    typer.echo(as_text(by_commit(found.table)))
    typer.echo(f"{path.relative_to(root.ROOT)} and its picture {picture.relative_to(root.ROOT)}")
