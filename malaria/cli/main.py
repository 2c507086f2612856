"""The `malaria` command: 0 if done, 1 for a negative answer, 2 for wrong use.

A command imports what is slow (pandas, MLflow, Keras) itself, so that the others start fast.
"""

import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from malaria.cli.data import audit, pin, subset
from malaria.cli.gate import gate, history, lock_check
from malaria.cli.models import doctor, predict, promote, register
from malaria.cli.studies import collect, lr_range, repeat, results, summary
from malaria.cli.tracking import runs, sync, ui
from malaria.errors import MalariaError

PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "MLflow": (sync, runs, ui),
    "Models": (predict, register, promote),
    "Results": (lock_check, gate, history, results),
    "Experiments": (repeat, summary, collect, lr_range),
    "Cells": (subset, pin, audit),
    "This machine": (doctor,),
}


class _FlagsWithoutType:
    """A command or group whose help shows no type beside an option that takes no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, `--help` included."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in found:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return found


class _Group(_FlagsWithoutType, TyperGroup): ...


class _Command(_FlagsWithoutType, TyperCommand): ...


app = typer.Typer(
    cls=_Group,
    help="Commands around the pipeline, which itself runs with `dvc repro`. They exit with 0 if "
    "done, 1 for a negative answer, 2 for wrong use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # fills the lines of a paragraph
)
for panel, commands in PANELS.items():
    for command in commands:
        app.command(cls=_Command, rich_help_panel=panel)(command)


def main() -> None:
    """Run the command; a user's mistake prints one sentence and exits with 2."""
    try:
        app()
    except MalariaError as error:
        typer.echo(f"malaria: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
