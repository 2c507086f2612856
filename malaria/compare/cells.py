"""The cells whose call changed, with pictures and heat maps as far as they are at hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from malaria.compare.measure import changed_calls
from malaria.compare.pictures import Local, map_cells
from malaria.compare.side import Side
from malaria.gate.predictions import Evaluated
from malaria.report.page import webp_address

PICTURED = 24  # cells of each kind


def flipped_cells(
    sides: Sequence[Side],
    letters: Sequence[str],
    models: Sequence[Evaluated],
    local: Local,
    has_maps: bool,
) -> dict[str, Any]:
    """Return the cells whose call changed: those with pictures by kind, and all as rows."""
    changed = changed_calls(models).reset_index(drop=True)
    parts = {"Not called the same by all": changed}
    if len(models) == 2:
        parts = {
            "Right in A, wrong in B": changed[changed["order"] == 0],
            "Wrong in A, right in B": changed[changed["order"] == 1],
        }
    pictured = pd.concat([part.head(PICTURED) for part in parts.values()])
    pictures, notes = _pictures(sides, letters, models, local, pictured, has_maps)
    shown = dict(zip(pictured.index, pictures, strict=True))
    return {
        "kinds": [
            (
                title,
                len(part),
                [
                    {**row, "pictures": shown[number]}
                    for number, row in part.head(PICTURED).to_dict("index").items()
                ],
            )
            for title, part in parts.items()
        ],
        "pictured": PICTURED,
        "rows": changed.to_dict("records"),
        "columns": list(range(len(models))),
        "notes": notes,
        "maps": max(map(len, pictures), default=0),
    }


def _pictures(
    sides: Sequence[Side],
    letters: Sequence[str],
    models: Sequence[Evaluated],
    local: Local,
    cells: pd.DataFrame,
    has_maps: bool,
) -> tuple[list[list[tuple[str, str]]], list[str]]:
    """Return what is shown of each cell, (alt text, data URL) each, and why some is missing."""
    found: list[list[tuple[str, str]]] = [[] for _ in range(len(cells))]
    plain = local.images(sides) if len(cells) else None
    if plain is None:
        absent = "No pictures: data/images.npy and its table of cells are not on this machine."
        return found, [absent] if len(cells) else []
    images, names = plain
    for number, row in enumerate(names.get_indexer(cells["cell_id"])):
        if row >= 0:
            found[number].append(("cell", webp_address(np.asarray(images[row]))))
    notes = []
    for side in range(len(models)) if has_maps else ():
        called = (cells[side] >= models[side].threshold).astype(int)
        maps = map_cells(local, sides, side, cells[["cell_id"]].assign(called=called))
        if isinstance(maps, str):
            notes.append(maps)
            continue
        for number, pixels in enumerate(maps):
            alt = f"heat map of {letters[side]}"
            found[number].append((alt, webp_address(pixels)))
    return found, notes
