"""What the commands share: the checkout that they work on, and options."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from malaria.paths import MODEL
from malaria.pipeline.folders import default_folder, find_folder, folders_with

ROOT = Path(__file__).resolve().parents[2]

Folder = Annotated[
    str | None,
    typer.Option(
        help="the pipeline's, from the root (default: the folder you are in, or the only one that "
        "has run)",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print as JSON")]
EvaluateBase = Annotated[
    bool,
    typer.Option(
        "--evaluate-base",
        help="if the other model was tested on other cells, evaluate it on the new ones (needs "
        "model and data in DVC's cache)",
    ),
]


def chosen(
    given: str | None, what: str = MODEL, ready: Callable[[Path, str], Sequence[str]] = folders_with
) -> str:
    """Return the pipeline's folder that was named, else the default, and say which one that is.

    `ready` gives the folders of the repository that have `what`.
    """
    if given is not None:
        return find_folder(ROOT, given)
    folder = default_folder(ROOT, Path.cwd(), ready(ROOT, what), what)
    typer.echo(f"malaria: the folder is {folder}; --folder names another", err=True)
    return folder


def tell(text: str) -> None:
    """Say on stderr what a command does now, before seconds of silence."""
    typer.echo(f"malaria: {text} ...", err=True)
