"""Whether two test sets are the same yardstick, and what is refused as none."""

import pandas as pd

from malaria.errors import MalariaError
from malaria.gate.judgement import Overlap
from malaria.gate.predictions import KEY, Evaluated, listed

RESET = "in a pull request set gate.baseline_reset to the base's commit and the reason"
SAME_YARDSTICK = 0.9  # of both test sets; with so many cells in common these are compared


def keys_of(one: Evaluated) -> pd.MultiIndex:
    """Return what makes each test cell the same: cell, patient and label."""
    return pd.MultiIndex.from_frame(one.cells[KEY])


def is_same_yardstick(one: Evaluated, other: Evaluated) -> bool:
    """Return whether nearly all cells of two test sets are the same, labels and patients too."""
    common = len(keys_of(one).intersection(keys_of(other)))
    return common >= SAME_YARDSTICK * max(len(one.cells), len(other.cells))


def in_common(one: Evaluated, other: Evaluated) -> tuple[Evaluated, Evaluated]:
    """Return both, with only the cells that both have."""
    common = keys_of(one).intersection(keys_of(other))
    mine, theirs = (each.only(keys_of(each).isin(common)) for each in (one, other))
    return mine, theirs


def overlap_of(base: Evaluated, head: Evaluated) -> Overlap:
    """Return what two test sets have in common."""
    both = base.cells[KEY].merge(head.cells[KEY], on="cell_id")
    common = keys_of(base).intersection(keys_of(head))
    before, now = (set(one.cells["patient"]) for one in (base, head))
    return Overlap(
        shared=len(both),
        relabelled=len(both) - len(common),
        base_only=len(base.cells) - len(both),
        head_only=len(head.cells) - len(both),
        base_patients=len(before),
        head_patients=len(now),
        shared_patients=len(before & now),
    )


def refuse_changed(base: Evaluated, head: Evaluated) -> None:
    """Refuse cells that have another patient or label than in the base."""
    both = base.cells[KEY].merge(head.cells[KEY], on="cell_id", suffixes=("", "_now"))
    for column in ("patient", "label"):
        changed = both[both[column] != both[f"{column}_now"]]
        if len(changed):
            raise MalariaError(
                f"{len(changed)} of the {len(both)} test cells that base and pull request share "
                f"have another {column} than in the base ({listed(list(changed['cell_id']))}); "
                f"restore it, or {RESET}."
            )


def refuse_vanished(base: Evaluated, head: Evaluated) -> None:
    """Refuse a test split that lost cells: without the hard ones any model looks better.

    Cells may leave with their patient, if another patient came in.
    """
    before, now = (set(one.cells["patient"]) for one in (base, head))
    if now < before:
        gone = sorted(before - now)
        raise MalariaError(
            f"{len(gone)} of the base's {len(before)} test patients are not in the pull request's "
            f"predictions ({listed(gone)}) and no other came in; test on all of them, or {RESET}."
        )
    lost = base.cells[
        base.cells["patient"].isin(now) & ~base.cells["cell_id"].isin(head.cells["cell_id"])
    ]
    if len(lost):
        raise MalariaError(
            f"{len(lost)} of the base's {len(base.cells)} test cells are not in the pull request's "
            f"predictions ({listed(list(lost['cell_id']))}), though their patients are; test on "
            f"all of them, or {RESET}."
        )
