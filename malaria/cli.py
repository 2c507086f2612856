"""The `malaria` command: 0 done, 1 a negative answer, 2 wrong use."""

import sys
from collections.abc import Callable

import typer

from malaria.data_commands import audit, lr_range, pin, subset
from malaria.errors import MalariaError
from malaria.experiment_commands import collect, repeat, results, summary
from malaria.gate_commands import gate, history, lock_check
from malaria.model_commands import doctor, predict, promote, register
from malaria.store_commands import runs, sync, ui

PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "MLflow, as a view of Git and DVC": (sync, runs, ui),
    "Models": (predict, register, promote),
    "Results": (lock_check, gate, history, results),
    "Experiments": (repeat, summary, collect, lr_range),
    "Cells": (subset, pin, audit),
    "This machine": (doctor,),
}
app = typer.Typer(
    help="Commands around the pipeline, which itself runs with `dvc repro`. They exit with 0 when "
    "done, 1 for a negative answer, 2 for wrong use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # fills the lines of a paragraph
)
for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)


def main() -> None:
    """Run the command; a user's mistake is one sentence and exit code 2."""
    try:
        app()
    except MalariaError as error:
        typer.echo(f"malaria: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
