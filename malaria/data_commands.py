"""The commands of `malaria` around cells and their labels, and `lr-range`."""

# What takes long to import (pandas, scikit-learn, Keras) is imported by the command that needs it.

from pathlib import Path
from typing import Annotated

import typer

from malaria import root


def subset(
    source: Annotated[Path, typer.Option(help="the official zip")] = root.ROOT
    / "data/raw/cell_images.zip",
    patients: Annotated[Path, typer.Option(help="patient ids, one a line")] = root.ROOT
    / "pilot/patients.txt",
    dest: Annotated[Path, typer.Option(help="the zip to write")] = root.ROOT
    / "pilot/cell_images_80_patients.zip",
) -> None:
    """Make the pilot's zip from the official one, byte for byte."""
    from malaria.subset import read_patients, write_subset

    chosen = read_patients(patients)
    sha256 = write_subset(source, chosen, dest)
    typer.echo(f"{dest}: {len(chosen)} patients, {dest.stat().st_size} bytes, SHA-256 {sha256}")


def pin(
    path: Annotated[Path, typer.Argument(help="zip or folder of labelled crops")],
) -> None:
    """Check an external test set; print the line that pins it in params.yaml."""
    from malaria import external

    typer.echo(external.pin(path))


def audit(
    name: Annotated[str, typer.Argument(help="a series of folds, as given to `repeat`")],
    folder: Annotated[str, typer.Option(help="the pipeline that was run")] = "pilot",
) -> None:
    """List the cells whose labels look wrong, to be looked at: FOLDER/audit/NAME.csv and .html."""
    import pandas as pd

    from malaria.audit import FOLDER, doubtful, draw_list, pooled, write_list, write_page
    from malaria.cells import describe_data, open_images, read_cells
    from malaria.mirror import sha256_of
    from malaria.repeats import read_series

    base = root.ROOT / folder
    cells = read_cells(base / "data/cells.csv")
    images = open_images(base / "data/images.npy", base / "data/images.json", cells)
    found = doubtful(pooled(read_series(root.ROOT, folder, name), cells))
    rows = pd.Series(cells.index, index=cells["cell_id"])
    listed = base / FOLDER / f"{name}.csv"
    write_list(found, listed)
    title = f"Doubtful labels, {describe_data(base / 'data/images.json', cells)}, series {name}"
    write_page(found, images, rows, listed.with_suffix(".html"), title)
    draw_list(found, images, rows, listed.with_suffix(".png"), title)
    typer.echo(f"{len(found)} of {len(cells)} labels look wrong; {listed.with_suffix('.html')}")
    typer.echo(
        f"write verdicts into {listed}, then pin it in {base / 'params.yaml'}, for now as\n"
        f"  corrections: {{path: {FOLDER}/{listed.name}, sha256: {sha256_of(listed)}}}"
    )


def lr_range(
    folder: Annotated[Path, typer.Option(help="the pipeline whose params are tried")] = root.ROOT,
    lowest: Annotated[float, typer.Option(min=1e-12)] = 1e-7,
    highest: Annotated[float, typer.Option(min=1e-12)] = 1.0,
    steps: Annotated[int, typer.Option(min=2, help="batches")] = 100,
) -> None:
    """Train with a growing learning rate; write its curve to FOLDER/lr_range.csv and .png."""
    from malaria import commands

    typer.echo(commands.lr_range(folder, lowest, highest, steps))
