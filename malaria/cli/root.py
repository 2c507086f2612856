"""What the commands share: the checkout that they work on, and options."""

from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parents[2]

Folder = Annotated[str, typer.Option(help="folder of the pipeline")]
AsJson = Annotated[bool, typer.Option("--json", help="print as JSON")]
EvaluateBase = Annotated[
    bool,
    typer.Option(
        "--evaluate-base",
        help="if the other model was tested on other cells, evaluate it on the new ones (needs "
        "model and data in DVC's cache)",
    ),
]
