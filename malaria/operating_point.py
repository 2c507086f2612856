"""The threshold that an evaluation chose."""

import math
from pathlib import Path
from typing import Any

from malaria.errors import MalariaError

CHOSEN_ON = "val"  # the split whose cells chose it


def threshold_in(metrics: Any, where: Path) -> float:
    """Return the operating point in the content of a metrics.json.

    Raises MalariaError where there is none; `where` is for the message.
    """
    try:
        threshold = float(metrics[CHOSEN_ON]["threshold"])
    except (KeyError, TypeError, ValueError):
        threshold = math.nan
    if not math.isfinite(threshold):
        raise MalariaError(
            f"{where} has no number for {CHOSEN_ON}.threshold; make it again with `uv run dvc "
            "repro`."
        )
    return threshold
