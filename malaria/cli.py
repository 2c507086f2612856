"""The `malaria` command: 0 done, 1 a negative answer, 2 wrong use."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from malaria.errors import MalariaError
from malaria.experiments import collect as collect_experiments
from malaria.results import write_results
from malaria.subset import read_patients, write_subset

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
def results() -> None:
    """Write the README's result tables from the committed metrics files."""
    write_results(ROOT)


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


@app.command()
def augmentation(
    folder: Annotated[Path, typer.Option(help="the pipeline whose params are drawn")] = ROOT,
    cells: Annotated[int, typer.Option(min=1, max=20, help="of the train split")] = 4,
) -> None:
    """Draw cells, augmented by both engines, to FOLDER/augmentation.png."""
    from malaria import commands

    typer.echo(commands.augmentation(folder, cells))


def main() -> None:
    """Run the command; a user's mistake is one sentence and exit code 2."""
    try:
        app()
    except MalariaError as error:
        typer.echo(f"malaria: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
