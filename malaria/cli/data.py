"""Commands for cells and their labels."""

import os
from pathlib import Path
from typing import Annotated
from zipfile import is_zipfile

import typer

from malaria.cli import root
from malaria.errors import MalariaError
from malaria.paths import AUDIT, CELLS, IMAGES, ORDER, PARAMS, ZIP

PILOT = root.ROOT / "pilot"
SUBSET = PILOT / "cell_images_80_patients.zip"


def subset(
    source: Annotated[
        Path, typer.Option(help="a copy of the set: zip or folder, in any layout")
    ] = root.ROOT / ZIP,
    patients: Annotated[Path, typer.Option(help="ids, one per line")] = PILOT / "patients.txt",
    everyone: Annotated[bool, typer.Option("--all", help="all patients of the source")] = False,
    dest: Annotated[Path, typer.Option(help="zip to write")] = SUBSET,
) -> None:
    """Make the zip of some patients' cells, and print the lines that pin it in params.yaml.

    By default the pilot's, to hand on. The same cells give the same bytes, whatever holds them.
    """
    from malaria.data.patients import read_patients
    from malaria.studies.subset import write_subset

    chosen = None if everyone else read_patients(patients)
    if source.exists():
        root.tell(f"the cells of {'all' if chosen is None else len(chosen)} patients are copied")
    made = write_subset(source, chosen, dest)
    typer.echo(
        f"{dest}: {made.count} cells, {dest.stat().st_size} bytes; in params.yaml, below `fetch:`\n"
        f"  cells: {made.cells}\n  sha256: {made.sha256}"
    )


def pin(
    path: Annotated[
        Path, typer.Argument(help="zip or folder of labelled crops, or HDF5 file of weights")
    ],
    folder: root.Folder = None,
) -> None:
    """Check an external test set or weights, and print the line that pins it in FOLDER/params.yaml.

    The path of a set is relative to FOLDER if it lies in this repository. It also warns of double
    cells, and of pictures that are unlike any cell of the set. Weights are pinned by the content
    of their arrays.
    """
    import h5py

    if path.is_file() and h5py.is_hdf5(path):
        from malaria.models.base.weights import pin as pin_weights

        typer.echo(pin_weights(path))
        return
    if not path.is_dir() and not is_zipfile(path):
        what = "neither crops nor weights" if path.exists() else "missing"
        raise MalariaError(
            f"{path} is {what}; give a zip or a folder of crops, or an HDF5 file of weights."
        )
    shown = path.resolve()
    if shown.is_relative_to(root.ROOT):
        shown = Path(os.path.relpath(shown, root.ROOT / root.chosen(folder)))
    from malaria.prediction.external import pin as pin_crops

    typer.echo(pin_crops(path, shown))


def audit(
    name: Annotated[str, typer.Argument(help="series of folds, as given to `repeat`")],
    folder: root.Folder = None,
) -> None:
    """List the cells whose labels look wrong, for review, in FOLDER/audit/NAME.csv and .html."""
    import pandas as pd

    from malaria.core.files import sha256_of
    from malaria.core.table import describe_data, open_images, read_cells
    from malaria.studies.data import check_data
    from malaria.studies.repeats import read_series

    folder = root.chosen(folder)
    series = read_series(root.ROOT, folder, name)
    base = root.ROOT / folder
    check_data(base, folder)
    root.tell("doubtful labels are looked for")
    from malaria.studies import audit as auditing

    cells = read_cells(base / CELLS)
    images = open_images(base / IMAGES, base / ORDER, cells)
    found = auditing.doubtful(auditing.pooled(series, cells))
    rows = pd.Series(cells.index, index=cells["cell_id"])
    listed = base / AUDIT / f"{name}.csv"
    kept = auditing.write_list(found, listed)
    title = f"Doubtful labels, {describe_data(base / ORDER, cells)}, series {name}"
    warning = auditing.warning_of(series)
    page = auditing.Page(title, warning, folder)
    auditing.write_page(found, images, rows, listed.with_suffix(".html"), page)
    auditing.draw_list(found, images, rows, listed.with_suffix(".png"), title)
    if warning:
        typer.echo(f"malaria: warning: {warning}", err=True)
    typer.echo(f"labels that look wrong: {len(found)} of {len(cells)}")
    if kept:
        typer.echo(f"listed last, for what was written beside them: {kept} more")
    shown = listed.relative_to(root.ROOT)
    typer.echo(
        f"choose flip, drop or keep in {shown.with_suffix('.html')}, or write it into {shown}; "
        f"then pin that in {(base / PARAMS).relative_to(root.ROOT)}; as it is now:\n"
        f"  corrections: {{path: {AUDIT}/{listed.name}, sha256: {sha256_of(listed)}}}"
    )
