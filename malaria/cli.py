"""The `malaria` command: 0 done, 1 a negative answer, 2 wrong use."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from malaria.errors import MalariaError
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
def results() -> None:
    """Write the README's result tables from the committed metrics files."""
    write_results(ROOT)


def main() -> None:
    """Run the command; a user's mistake is one sentence and exit code 2."""
    try:
        app()
    except MalariaError as error:
        typer.echo(f"malaria: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
