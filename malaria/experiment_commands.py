"""The commands of `malaria` around DVC experiments and the tables of their results."""

# What takes long to import (pandas, scikit-learn) is imported by the command that needs it.

from typing import Annotated

import typer

from malaria import root
from malaria.errors import MalariaError


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
    from malaria.repeats import folds_of, run_series, seeds_of

    if (folds is None) == (seeds is None):
        raise MalariaError("repeat needs either --folds or --seeds; give one of the two.")
    if folds is not None:
        series = folds_of(name, folds, settings or [])
    else:
        series = seeds_of(name, _numbers(str(seeds)), settings or [])
    for message in run_series(root.ROOT, folder, series):
        typer.echo(f"repeat: {message}", err=True)
    summary(name, folder)


def summary(
    name: Annotated[str, typer.Argument(help="the series, as given to `repeat`")],
    folder: Annotated[str, typer.Option(help="the pipeline that was run")] = "pilot",
) -> None:
    """Sum up a series: test metrics of each run, mean and sd; also as FOLDER/series/NAME.csv."""
    from malaria.metrics import write_table
    from malaria.repeats import SERIES, summarise

    table = summarise(root.ROOT, folder, name)
    path = root.ROOT / folder / SERIES / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    write_table(table, path)
    typer.echo(table.to_string(index=False, float_format="{:.3f}".format, na_rep=""))
    typer.echo(path.relative_to(root.ROOT))


def collect(
    names: Annotated[
        list[str] | None, typer.Argument(help="DVC experiments; none: all of them")
    ] = None,
    folder: Annotated[str, typer.Option(help="the pipeline that they ran")] = "pilot",
) -> None:
    """Copy params and metrics of finished experiments to FOLDER/experiments, to commit them."""
    from malaria.experiments import collect as collect_experiments

    for path in collect_experiments(root.ROOT, folder, names or []):
        typer.echo(path.relative_to(root.ROOT))


def results() -> None:
    """Write the README's result tables from the committed metrics files."""
    from malaria.results import write_results

    write_results(root.ROOT)


def _numbers(text: str) -> list[int]:
    """Return 1,2,3 as numbers; raises MalariaError for anything else."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise MalariaError(f"--seeds is {text!r}; write whole numbers, as in 1,2,3.") from None
