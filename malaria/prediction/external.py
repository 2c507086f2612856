"""Labelled crops from elsewhere: test sets in addition to the test split, never part of it.

A set is a zip or a folder with PNG, JPEG or TIFF files in `Parasitized/` and `Uninfected/`, at its
top or below `cell_images/`. File names are free. If all have the official form, they give the
patients too; otherwise the patients are unknown. Hidden files and what systems leave there
(Thumbs.db, desktop.ini, __MACOSX) are passed over, as `malaria predict` does.

A zip is pinned by its SHA-256. A folder is pinned by the SHA-256 of the sorted list of its
pictures, so dates, order and what is passed over do not matter. In the folder, this command prints
it:

    find * -type f -not -name '.*' \\( -iname '*.png' -o -iname '*.jp*g' -o -iname '*.tif*' \\) \\
        -exec sha256sum {} + | LC_ALL=C sort | sha256sum
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn
from zipfile import ZipFile

import numpy as np
import pandas as pd

from malaria.core.files import MIRROR, describe_mirror, find_in_mirror, sha256_of
from malaria.core.table import SPLITS
from malaria.data.archive import (
    Cell,
    cell_of,
    check_bytes,
    check_entry,
    fault,
    in_order,
    open_archive,
)
from malaria.data.copies import files_below
from malaria.data.images import write_images
from malaria.data.layout import FOLDERS, ROOT, is_passed_over
from malaria.data.likeness import describe_unlike, unlikeness
from malaria.data.pictures import SUFFIXES
from malaria.errors import MalariaError
from malaria.prediction import same_cells
from malaria.prediction.params import ExternalSet
from malaria.prediction.table import with_probabilities

Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of images and chosen rows of them
COLUMNS = ["set", "cell_id", "patient", "label", "logit", "probability", *same_cells.COLUMNS]
PIN_SIZE = 32  # px a side at which `pin` looks for double cells


@dataclass(frozen=True)
class Crops:
    """The crops of one set; their names are checked, their pixels are not yet."""

    source: ZipFile | Path
    cells: list[Cell]  # sorted by file name; patient '' if it is unknown

    def write_images(self, size: int, path: Path) -> str:
        """Write the images as the pipeline's; return a warning if some are unlike its cells."""
        odd: dict[str, str] = {}

        def look(cell: Cell, pixels: np.ndarray) -> None:
            odd[cell.entry] = unlikeness(pixels)

        write_images(self.source, self.cells, size, path, look, only_png=False)
        return describe_unlike(dict(sorted(odd.items())), len(self.cells))


@contextmanager
def open_crops(path: Path) -> Iterator[Crops]:
    """Give the crops in a zip or a folder; one class is enough.

    Raises MalariaError for a file outside the layout, an unsafe or repeated name, a link, or a
    set without cells.
    """
    if path.is_dir():
        yield Crops(path, _in_layout(path, list(files_below(path))))
        return
    with open_archive(path) as archive:
        for info in archive.infolist():
            check_entry(archive, info)
        entries = [(info.filename, info.file_size) for info in archive.infolist()]
        yield Crops(archive, _in_layout(path, entries))


def sha256_of_crops(path: Path) -> str:
    """Return the SHA-256 of a zip, or of the list of a folder's pictures."""
    try:
        if not path.is_dir():
            return sha256_of(path)
        cells = _in_layout(path, list(files_below(path)))
        found = [f"{sha256_of(path / cell.entry)}  {cell.entry}\n" for cell in cells]
    except OSError as error:
        _refuse(error)
    return hashlib.sha256("".join(sorted(found)).encode()).hexdigest()


@contextmanager
def open_pinned(wanted: ExternalSet) -> Iterator[Crops]:
    """Give the crops that params pin; their path is relative to the working folder.

    A zip is looked up by its hash in `$MALARIA_MIRROR` first, so it need not be at its path.
    Raises MalariaError if there is nothing, or not what is pinned. This error, and any that is
    raised while the crops are open, names the set.
    """
    try:
        path = _find(wanted)
        found = sha256_of_crops(path)
        if found != wanted.sha256:
            raise MalariaError(
                f"{path} has SHA-256 {found}, but {wanted.sha256} is pinned; bring the pinned "
                f"cells back, or pin these with `uv run malaria pin {path}`."
            )
        with open_crops(path) as crops:
            yield crops
    except MalariaError as error:
        raise MalariaError(f"evaluate.external, {wanted.name}: {error}") from None


def check_external(sets: Sequence[ExternalSet]) -> None:
    """Raise MalariaError for a set that `predict_external` would refuse minutes later."""
    for wanted in sets:
        with open_pinned(wanted):
            pass


def predict_external(
    sets: Sequence[ExternalSet],
    size: int,
    predict: Predict,
    workspace: Path,
    own: Callable[[], Mapping[bytes, str]] = dict,
) -> tuple[pd.DataFrame, list[str]]:
    """Return COLUMNS for each cell of the sets, in their order, and warnings.

    The images are decoded and resized to uint8 (N, size, size, 3) like the pipeline's images, in a
    temporary folder below `workspace`. `predict` gives the logits (N,) of rows of them. `own` gives
    the pipeline's cells as `same_cells.by_pixels` does, if there is a set.
    """
    known = own() if sets else {}
    parts, warnings = [], []
    for wanted in sets:
        cells, warning = _predict_set(wanted, size, predict, workspace, known)
        parts.append(cells)
        if warning:
            warnings.append(f"evaluate.external, {wanted.name}: {warning}")
    return pd.concat(parts)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS), warnings


def read_external(path: Path) -> pd.DataFrame:
    """Return the predictions as written; an unknown patient is a missing value."""
    names = ["patient", *same_cells.COLUMNS]
    text = dict.fromkeys(("set", "cell_id", *names), "string")
    # A cell may have the name NA, and a set the name null.
    missing = {name: [""] for name in names}
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=missing)


def pin(path: Path, shown: Path) -> str:
    """Return what a zip or folder holds, and the line for `evaluate.external` that pins it.

    Decodes every cell, so that the pipeline will not refuse one later. `shown` is the path as the
    line has it.
    """
    path = path.resolve()
    if not path.exists():
        raise MalariaError(f"{path} is missing; give a zip or a folder of labelled crops.")
    with open_crops(path) as crops, tempfile.TemporaryDirectory(prefix="malaria-") as folder:
        images = Path(folder, "images.npy")
        warning = crops.write_images(PIN_SIZE, images)
        names = [cell.cell_id for cell in crops.cells]
        same = same_cells.find_same(np.load(images, mmap_mode="r"), names, {})
    parasitized = sum(cell.label for cell in crops.cells)
    patients = {cell.patient for cell in crops.cells}
    line = {"name": _name_for(path), "path": str(shown), "sha256": sha256_of_crops(path)}
    doubles = int((same["double_of"] != "").sum())
    return "\n".join(
        [
            *([f"# warning: {warning}"] if warning else []),
            *([f"# warning: {doubles} with the pixels of another cell"] if doubles else []),
            f"# {parasitized} parasitized and {len(crops.cells) - parasitized} uninfected cells, "
            f"patients {'unknown' if '' in patients else len(patients)}; in params.yaml, below "
            "`external:` without its []",
            f"    - {json.dumps(line, ensure_ascii=False)}",
        ]
    )


def _find(wanted: ExternalSet) -> Path:
    path = Path(wanted.path)
    if path.is_dir():
        return path
    mirrored = find_in_mirror(wanted.sha256)
    if mirrored is not None:
        return mirrored
    if path.is_file():
        return path
    raise MalariaError(
        f"{wanted.path!r} is neither a zip nor a folder, relative to {Path.cwd()}, and "
        f"{describe_mirror(wanted.sha256)}; correct the path, or set {MIRROR} to a folder that "
        "holds the zip."
    )


def _predict_set(
    wanted: ExternalSet, size: int, predict: Predict, workspace: Path, known: Mapping[bytes, str]
) -> tuple[pd.DataFrame, str]:
    with (
        open_pinned(wanted) as crops,
        tempfile.TemporaryDirectory(dir=workspace, prefix=".external-") as folder,
    ):
        path = Path(folder, "images.npy")
        warning = crops.write_images(size, path)
        images = np.load(path, mmap_mode="r")
        cells = pd.DataFrame(
            {
                "set": wanted.name,
                "cell_id": [cell.cell_id for cell in crops.cells],
                "patient": [cell.patient for cell in crops.cells],
                "label": [cell.label for cell in crops.cells],
                "logit": predict(images, np.arange(len(crops.cells))),
            }
        )
        same = same_cells.find_same(images, list(cells["cell_id"]), known)
    return with_probabilities(cells).join(same), warning


def _refuse(error: OSError) -> NoReturn:
    raise MalariaError(f"{error.filename} cannot be read ({error.strerror}); fix that.") from None


def _in_layout(source: Path, entries: list[tuple[str, int]]) -> list[Cell]:
    """Return the cells among entries (name and bytes); refuse what the layout has no place for."""
    entries = [
        (name, count)
        for name, count in entries
        if not any(is_passed_over(part) for part in name.split("/") if part)
    ]
    base = ROOT if any(name.startswith(ROOT) for name, _ in entries) else ""
    folders = {base + folder.removeprefix(ROOT): label for folder, label in FOLDERS.items()}
    found = []
    for name, count in entries:
        if name in (base, *folders):
            continue
        folder = name[: name.rfind("/") + 1]
        is_picture = PurePosixPath(name).suffix.lower() in SUFFIXES
        if folder not in folders or not is_picture or not name.isprintable():
            raise fault(
                source,
                name,
                f"has no place in it: only PNG, JPEG and TIFF files in {' and '.join(folders)} "
                "(in this very spelling) may be there; remove, rename or move the entry",
            )
        check_bytes(source, name, count)
        found.append((name, folders[folder]))
    if not found:
        raise MalariaError(
            f"{source} has no cell; put PNG, JPEG or TIFF files into {' and '.join(folders)} there."
        )
    cells = [cell for entry in found if (cell := cell_of(*entry)) is not None]
    if len(cells) < len(found):  # not all have the official form, so no name gives a patient
        ids = [PurePosixPath(name).stem for name, _ in found]
        if len(set(ids)) < len(ids):  # as 1.png in both folders
            ids = [name.removeprefix(base) for name, _ in found]
        cells = [Cell(own, *entry, "", "", "") for own, entry in zip(ids, found, strict=True)]
    return in_order(source, cells)


def _name_for(path: Path) -> str:
    """Return a name for a set, made from the name of its file."""
    stem = path.name if path.is_dir() else path.stem
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
    return f"external_{name}"[:30].strip("_") if name in ("", *SPLITS) else name[:30]
