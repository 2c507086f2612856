"""The `malaria` command: 0 done, 1 a negative answer, 2 wrong use."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from malaria.audit import FOLDER as AUDIT
from malaria.audit import doubtful, draw_list, pooled, write_list, write_page
from malaria.cells import describe_data, open_images, read_cells
from malaria.errors import MalariaError
from malaria.experiments import collect as collect_experiments
from malaria.gating import gate_folder
from malaria.history import draw_history, read_history
from malaria.metrics import write_table
from malaria.mirror import sha256_of
from malaria.params.base import PARAMS, load
from malaria.params.evaluate import EvaluateParams
from malaria.pipeline import PIPELINES
from malaria.repeats import SERIES, folds_of, read_series, run_series, seeds_of, summarise
from malaria.results import write_results
from malaria.revisions import predicted_folders
from malaria.subset import read_patients, write_subset

HISTORY = "metrics_history.csv"
ROOT = Path(__file__).resolve().parents[1]
app = typer.Typer(
    help="Commands around the pipeline, which itself runs with `dvc repro`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _commands() -> None:
    """Keep `malaria` a group of commands."""


@app.command()
def subset(
    source: Annotated[Path, typer.Option(help="the official zip")] = ROOT
    / "data/raw/cell_images.zip",
    patients: Annotated[Path, typer.Option(help="patient ids, one a line")] = ROOT
    / "pilot/patients.txt",
    dest: Annotated[Path, typer.Option(help="the zip to write")] = ROOT
    / "pilot/cell_images_80_patients.zip",
) -> None:
    """Make the pilot's zip from the official one, byte for byte."""
    chosen = read_patients(patients)
    sha256 = write_subset(source, chosen, dest)
    typer.echo(f"{dest}: {len(chosen)} patients, {dest.stat().st_size} bytes, SHA-256 {sha256}")


@app.command()
def collect(
    names: Annotated[
        list[str] | None, typer.Argument(help="DVC experiments; none: all of them")
    ] = None,
    folder: Annotated[str, typer.Option(help="the pipeline that they ran")] = "pilot",
) -> None:
    """Copy params and metrics of finished experiments to FOLDER/experiments, to commit them."""
    for path in collect_experiments(ROOT, folder, names or []):
        typer.echo(path.relative_to(ROOT))


@app.command()
def repeat(
    name: Annotated[str, typer.Option(help="the series; its experiments are NAME-fold1, ...")],
    folds: Annotated[int | None, typer.Option(min=3, help="k folds of the patients")] = None,
    seeds: Annotated[str | None, typer.Option(help="of the training, as in 1,2,3")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-S", help="KEY=VALUE in all of them")
    ] = None,
    folder: Annotated[str, typer.Option(help="the pipeline that is run")] = "pilot",
) -> None:
    """Run a recipe on each of k folds, or with several seeds, as DVC experiments."""
    if (folds is None) == (seeds is None):
        raise MalariaError("repeat needs either --folds or --seeds; give one of the two.")
    if folds is not None:
        series = folds_of(name, folds, settings or [])
    else:
        series = seeds_of(name, _numbers(str(seeds)), settings or [])
    for message in run_series(ROOT, folder, series):
        typer.echo(f"repeat: {message}", err=True)
    summary(name, folder)


@app.command()
def summary(
    name: Annotated[str, typer.Argument(help="the series, as given to `repeat`")],
    folder: Annotated[str, typer.Option(help="the pipeline that was run")] = "pilot",
) -> None:
    """Sum up a series: test metrics of each run, mean and sd; also as FOLDER/series/NAME.csv."""
    table = summarise(ROOT, folder, name)
    path = ROOT / folder / SERIES / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    write_table(table, path)
    typer.echo(table.to_string(index=False, float_format="{:.3f}".format, na_rep=""))
    typer.echo(path.relative_to(ROOT))


@app.command()
def audit(
    name: Annotated[str, typer.Argument(help="a series of folds, as given to `repeat`")],
    folder: Annotated[str, typer.Option(help="the pipeline that was run")] = "pilot",
) -> None:
    """List the cells whose labels look wrong, to be looked at: FOLDER/audit/NAME.csv and .html."""
    base = ROOT / folder
    cells = read_cells(base / "data/cells.csv")
    images = open_images(base / "data/images.npy", base / "data/images.json", cells)
    found = doubtful(pooled(read_series(ROOT, folder, name), cells))
    rows = pd.Series(cells.index, index=cells["cell_id"])
    listed = base / AUDIT / f"{name}.csv"
    write_list(found, listed)
    title = f"Doubtful labels, {describe_data(base / 'data/images.json', cells)}, series {name}"
    write_page(found, images, rows, listed.with_suffix(".html"), title)
    draw_list(found, images, rows, listed.with_suffix(".png"), title)
    typer.echo(f"{len(found)} of {len(cells)} labels look wrong; {listed.with_suffix('.html')}")
    typer.echo(
        f"write verdicts into {listed}, then pin it in {base / 'params.yaml'}, for now as\n"
        f"  corrections: {{path: {AUDIT}/{listed.name}, sha256: {sha256_of(listed)}}}"
    )


def _numbers(text: str) -> list[int]:
    """Return 1,2,3 as numbers; raises MalariaError for anything else."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise MalariaError(f"--seeds is {text!r}; write whole numbers, as in 1,2,3.") from None


@app.command()
def results() -> None:
    """Write the README's result tables from the committed metrics files."""
    write_results(ROOT)


@app.command()
def pin(
    path: Annotated[Path, typer.Argument(help="zip or folder of labelled crops")],
) -> None:
    """Check an external test set; print the line that pins it in params.yaml."""
    from malaria import external  # here, because OpenCV and scikit-learn take a second to import

    typer.echo(external.pin(path))


@app.command("lock-check")
def lock_check(
    folders: Annotated[
        list[str] | None, typer.Argument(help="pipelines, from the root; none: all of them")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print it for programs")] = False,
) -> None:
    """Tell whether code, params and results are those of the runs; no data is needed."""
    from malaria.lockcheck import check_locks  # here, because OpenCV takes a second to import

    states = check_locks(ROOT, folders or PIPELINES)
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


@app.command()
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
    found = [
        gate_folder(ROOT, folder, base, pictures, evaluate_base)
        for folder in predicted_folders(ROOT)
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


@app.command()
def history(
    folder: Annotated[str, typer.Option(help="the pipeline whose results are shown")] = "pilot",
    ref: Annotated[str, typer.Option(help="branch, tag or commit; its first parents")] = "main",
) -> None:
    """Show test metrics over the commits of a branch; FOLDER/metrics_history.csv and .png."""
    params = load(EvaluateParams, ROOT / folder / PARAMS)
    found = read_history(ROOT, ref, folder, params.replicates, params.seed)
    for note in found.notes:
        typer.echo(f"history: {note}", err=True)
    path = ROOT / folder / HISTORY
    write_table(found.table, path)
    draw_history(found.table, path.with_suffix(".png"), f"{folder} on {ref}")
    typer.echo(
        found.table.drop(columns="reason").to_string(
            index=False, float_format="{:.3f}".format, na_rep=""
        )
    )
    typer.echo(path.relative_to(ROOT))


@app.command("lr-range")
def lr_range(
    folder: Annotated[Path, typer.Option(help="the pipeline whose params are tried")] = ROOT,
    lowest: Annotated[float, typer.Option(min=1e-12)] = 1e-7,
    highest: Annotated[float, typer.Option(min=1e-12)] = 1.0,
    steps: Annotated[int, typer.Option(min=2, help="batches")] = 100,
) -> None:
    """Train with a growing learning rate; write its curve to FOLDER/lr_range.csv and .png."""
    from malaria import commands  # here, because Keras takes seconds to import

    typer.echo(commands.lr_range(folder, lowest, highest, steps))


def main() -> None:
    """Run the command; a user's mistake is one sentence and exit code 2."""
    try:
        app()
    except MalariaError as error:
        typer.echo(f"malaria: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
