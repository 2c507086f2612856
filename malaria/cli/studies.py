"""Commands for experiments and the tables of their results."""

from typing import Annotated

import typer

from malaria.cli import root
from malaria.core.environment import check_backend
from malaria.errors import MalariaError
from malaria.paths import IMAGES
from malaria.quiet_keras import held_back


def repeat(
    name: Annotated[str, typer.Option(help="series; its experiments are NAME-fold1, ...")],
    folds: Annotated[int | None, typer.Option(min=3, help="number of folds")] = None,
    seeds: Annotated[str | None, typer.Option(help="of the training, as in 1,2,3")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-S", help="KEY=VALUE in all of them")
    ] = None,
    folder: root.Folder = None,
) -> None:
    """Run a recipe on k folds of the patients, or with several seeds, as DVC experiments.

    Each runs up to `evaluate`, which is what `summary` and `audit` need. Heat maps and report of
    one: `dvc exp apply NAME`, then `dvc repro`.
    """
    from malaria.studies.repeats import folds_of, run_series, seeds_of

    if (folds is None) == (seeds is None):
        raise MalariaError("repeat needs either --folds or --seeds; give one of the two.")
    if folds is not None:
        series = folds_of(name, folds, settings or [])
    else:
        series = seeds_of(name, _numbers(str(seeds)), settings or [])
    folder = root.chosen(folder)
    for message in run_series(root.ROOT, folder, series):
        typer.echo(f"repeat: {message}", err=True)
    summary(name, folder)


def summary(
    name: Annotated[str, typer.Argument(help="series, as given to `repeat`")],
    folder: root.Folder = None,
) -> None:
    """Summarise a series, also as FOLDER/series/NAME.csv: test metrics by run, mean and sd."""
    from malaria.paths import SERIES
    from malaria.prediction.table import as_text, write_table
    from malaria.studies.repeats import summarise

    folder = root.chosen(folder)
    table = summarise(root.ROOT, folder, name)
    path = root.ROOT / folder / SERIES / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    write_table(table, path)
    typer.echo(as_text(table))
    typer.echo(path.relative_to(root.ROOT))


def collect(
    names: Annotated[list[str] | None, typer.Argument(help="experiments (default: all)")] = None,
    folder: root.Folder = None,
) -> None:
    """Copy params and metrics of finished DVC experiments to FOLDER/experiments, to commit them."""
    from malaria.studies.experiments import collect as collect_experiments

    for path in collect_experiments(root.ROOT, root.chosen(folder), names or []):
        typer.echo(path.relative_to(root.ROOT))


def lr_range(
    folder: root.Folder = None,
    lowest: Annotated[float, typer.Option(min=1e-12)] = 1e-6,
    highest: Annotated[float, typer.Option(min=1e-12)] = 1.0,
    steps: Annotated[int, typer.Option(min=20, help="batches")] = 300,
) -> None:
    """Train with a growing learning rate and write its curve to FOLDER/lr_range.csv and .png.

    Suggests the rate at which the smoothed loss falls most steeply before it is lowest.
    """
    from malaria.studies.data import check_data

    folder = root.chosen(folder, IMAGES)
    check_backend()
    check_data(root.ROOT / folder, folder)
    root.tell("Keras starts")
    with held_back():
        from malaria.studies.lr_range import run

    typer.echo(run(root.ROOT, folder, lowest, highest, steps))


def results() -> None:
    """Write the tables of README.md and docs/results.md from the committed metrics files."""
    from malaria.studies.results import write_results

    for file, changed in write_results(root.ROOT).items():
        typer.echo(f"{file}: {'new tables' if changed else 'its tables are as they were'}")


def _numbers(text: str) -> list[int]:
    """Return 1,2,3 as numbers; raises MalariaError for anything else."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise MalariaError(f"--seeds is {text!r}; write whole numbers, as in 1,2,3.") from None
