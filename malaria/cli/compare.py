"""The command that compares models on one page."""

from pathlib import Path
from typing import Annotated

import typer

from malaria.cli import root
from malaria.paths import PREDICTIONS


def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C ...]",
            help="Git revisions, DVC experiments (also a series of `repeat`), folders in "
            "experiments/, ids of MLflow runs, or `workspace`",
        ),
    ],
    folder: root.Folder = None,
    output: Annotated[
        Path | None, typer.Option(help="the page (default: FOLDER/compare/A..B.html)")
    ] = None,
    maps: Annotated[
        bool, typer.Option(help="heat maps of the models that are in DVC's cache")
    ] = True,
) -> None:
    """Show on one HTML page how models differ: params, metrics, curves, patients, cells.

    B is compared with A on the same test cells; of more than two, mean and spread are shown. The
    page is also added to the row of the last one in MLflow, if a store has it.
    """
    from malaria.compare.sources import folder_of

    folder = folder or folder_of(root.ROOT, names)
    folder = root.chosen(folder, PREDICTIONS)
    root.tell("committed results are read and compared")
    from malaria.compare.compare import compare as write_page
    from malaria.compare.compare import log

    compared = write_page(root.ROOT, folder, names, output, maps)
    typer.echo(compared.metrics)
    row = log(root.ROOT, folder, compared)
    if row is not None:
        typer.echo(f"compare: the page is also in MLflow, at the row {row}", err=True)
    typer.echo(compared.page)
