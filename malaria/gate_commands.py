"""The commands of `malaria` that hold committed results against code, and against earlier ones."""

# What takes long to import (pandas, scikit-learn) is imported by the command that needs it.

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from malaria import root

HISTORY = "metrics_history.csv"


def lock_check(
    folders: Annotated[
        list[str] | None, typer.Argument(help="pipelines, from the root; none: all of them")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print it for programs")] = False,
) -> None:
    """Tell whether code, params and results are those of the runs; no data is needed."""
    from malaria.lockcheck import check_locks
    from malaria.pipeline import PIPELINES

    states = check_locks(root.ROOT, folders or PIPELINES)
    if as_json:
        typer.echo(json.dumps([asdict(state) for state in states], indent=2))
    else:
        for state in states:
            typer.echo(f"{state.folder}: {state.state}")
            for reason in state.reasons:
                typer.echo(f"  {reason}")
            if state.remedy:
                typer.echo(f"  to run again: {', '.join(state.rerun)}; `{state.remedy}`")
    if any(state.state == "stale" for state in states):
        raise typer.Exit(1)


def gate(
    base: Annotated[str, typer.Option(help="branch that HEAD began on")] = "origin/main",
    comment: Annotated[Path | None, typer.Option(help="file for the comment, in Markdown")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="file for all numbers")] = None,
    pictures: Annotated[
        str | None, typer.Option(help="address below which the files of HEAD can be seen")
    ] = None,
    evaluate_base: Annotated[
        bool,
        typer.Option(
            "--evaluate-base",
            help="where the base was tested on other cells, try its model on the new ones "
            "(model and data from DVC's cache)",
        ),
    ] = False,
) -> None:
    """Tell whether committed results are worse than the base's; 1: they are, or not comparable.

    The comment links to the run in MLflow where $MLFLOW_TRACKING_URI is a server that has it.
    """
    from malaria.gating import gate_folder
    from malaria.revisions import predicted_folders

    found = [
        gate_folder(root.ROOT, folder, base, pictures, evaluate_base)
        for folder in predicted_folders(root.ROOT)
    ]
    for each in found:
        typer.echo(f"{each.folder}: {each.judgement.outcome}")
        for reason in each.judgement.reasons:
            typer.echo(f"  {reason}")
    if not found:
        typer.echo("no folder has committed predictions; there is nothing to compare")
    if comment is not None:
        texts = [each.comment for each in found] or ["No folder has committed predictions.\n"]
        comment.write_text("\n".join(texts), encoding="utf-8")
    if as_json is not None:
        content = {each.folder: json.loads(each.judgement.to_json()) for each in found}
        as_json.write_text(json.dumps(content, indent=2) + "\n")
    if any(each.judgement.exit_code for each in found):
        raise typer.Exit(1)


def history(
    folder: Annotated[str, typer.Option(help="the pipeline whose results are shown")] = "pilot",
    ref: Annotated[str, typer.Option(help="branch, tag or commit; its first parents")] = "main",
) -> None:
    """Show test metrics over the commits of a branch; FOLDER/metrics_history.csv and .png."""
    from malaria.history import draw_history, read_history
    from malaria.metrics import write_table
    from malaria.params.base import PARAMS, load
    from malaria.params.evaluate import EvaluateParams

    params = load(EvaluateParams, root.ROOT / folder / PARAMS)
    found = read_history(root.ROOT, ref, folder, params.replicates, params.seed)
    for note in found.notes:
        typer.echo(f"history: {note}", err=True)
    path = root.ROOT / folder / HISTORY
    write_table(found.table, path)
    draw_history(found.table, path.with_suffix(".png"), f"{folder} on {ref}")
    typer.echo(
        found.table.drop(columns="reason").to_string(
            index=False, float_format="{:.3f}".format, na_rep=""
        )
    )
    typer.echo(path.relative_to(root.ROOT))
