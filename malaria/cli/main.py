"""The `malaria` command: 0 if done, 1 for a negative answer, 2 for wrong use, 130 if interrupted.

A command imports what is slow (pandas, MLflow, Keras) itself, so that the others start fast.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from malaria.cli.compare import compare
from malaria.cli.data import audit, pin, subset
from malaria.cli.gate import gate, history, lock_check
from malaria.cli.models import doctor, predict, promote, register
from malaria.cli.studies import collect, lr_range, repeat, results, summary
from malaria.cli.tracking import runs, sync, ui
from malaria.cli.verify import verify
from malaria.errors import Interrupted, MalariaError

PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "MLflow": (sync, runs, ui),
    "Models": (predict, register, promote),
    "Results": (lock_check, gate, verify, history, results),
    "Experiments": (compare, repeat, summary, collect, lr_range),
    "Cells": (subset, pin, audit),
    "This machine": (doctor,),
}
INTERRUPTED = 130
KEPT = "no file is left half written; run the same command again"
KEPT_BY = {
    sync: "the runs that it has added stay, and the same command adds the rest",
    ui: "the runs stay, and the same command shows them",
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


def interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with a sentence at Ctrl-C, in the place of a traceback."""

    @functools.wraps(command)
    def run(*args: object, **options: object) -> None:
        try:
            command(*args, **options)
        except KeyboardInterrupt as error:
            kept = str(error) if isinstance(error, Interrupted) else KEPT_BY.get(command, KEPT)
            typer.echo(f"malaria: interrupted; {kept}.", err=True)
            raise typer.Exit(INTERRUPTED) from None

    return run


app = typer.Typer(
    cls=_Group,
    help="Commands around the pipeline, which itself runs with `dvc repro`. They exit with 0 if "
    "done, 1 for a negative answer, 2 for wrong use, 130 if interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # fills the lines of a paragraph
)
for panel, commands in PANELS.items():
    for command in commands:
        app.command(cls=_Command, rich_help_panel=panel)(interruptible(command))


def main() -> None:
    """Run the command; a user's mistake prints one sentence and exits with 2."""
    try:
        app()
    except MalariaError as error:
        typer.echo(f"malaria: {error}", err=True)
        sys.exit(2)
