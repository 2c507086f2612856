"""Checks that metrics.json, and headline.json from it, follow from the predictions next to it."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from malaria.core.params import flatten
from malaria.core.table import EVALUATED
from malaria.evaluation.external import external_metrics
from malaria.evaluation.metrics import HEADLINE as OF_HEADLINE
from malaria.evaluation.metrics import choose_threshold, compute_metrics
from malaria.paths import EXTERNAL, HEADLINE, METRICS, PREDICTIONS
from malaria.prediction.external import read_external
from malaria.prediction.table import DIGITS, read_predictions

LAST_DIGIT = 1.5 * 10**-DIGITS  # rounding may fall the other way on another machine


def metrics_faults(folder: Path, shown: str, rule: str | None) -> Iterator[str]:
    """Give a sentence for each number of metrics.json that the predictions do not give.

    So for headline.json, if it is there. `shown` names the file; `rule` is the locked
    evaluate.threshold, None if the lock has none. Missing files are not reported here.
    """
    if not all((folder / file).is_file() for file in (METRICS, PREDICTIONS)):
        return
    if rule is None:  # else a lock without that param would let any threshold pass
        yield f"{shown} cannot be checked: its lock does not say by which evaluate.threshold it is"
        return
    try:
        content = json.loads((folder / METRICS).read_text())
        predictions = read_predictions(folder / PREDICTIONS)
        cells = {split: predictions[predictions["split"] == split] for split in EVALUATED}
        thresholds = {split: content[split]["threshold"] for split in EVALUATED}
        found: dict[str, Any] = {
            split: compute_metrics(cells[split], thresholds[split]) for split in EVALUATED
        }
        if (folder / EXTERNAL).is_file():
            external = read_external(folder / EXTERNAL)
            found["external"] = external_metrics(external, thresholds["test"])
        val = cells["val"]
        chosen = choose_threshold(val["label"].to_numpy(), val["probability"].to_numpy(), rule)
        written, computed = flatten(content), flatten(found)
        headline = {}
        if (folder / HEADLINE).is_file():
            headline = flatten(json.loads((folder / HEADLINE).read_text()))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        yield f"{shown} cannot be recomputed from {PREDICTIONS} ({error!r})"
        return
    for split, threshold in thresholds.items():
        if threshold != chosen:
            yield (
                f"{split}.threshold in {shown} is {threshold!r}, but {rule} chooses {chosen!r} "
                f"on the val cells of {PREDICTIONS}"
            )
    if headline:
        names = {f"{split}.{name}" for split, chosen in OF_HEADLINE.items() for name in chosen}
        for key in sorted(headline.keys() | names):
            if not _is_same(headline.get(key, ...), computed[key] if key in names else ...):
                yield f"{key} in {HEADLINE} is not what {PREDICTIONS} gives"
    for key in written | computed:
        if not _is_same(written.get(key, ...), computed.get(key, ...)):
            source = EXTERNAL if key.startswith("external") else PREDICTIONS
            yield (
                f"{key} in {shown} is {written.get(key, 'missing')}, but {source} gives "
                f"{computed.get(key, 'no such number')} at the file's threshold"
            )


def _is_same(written: object, computed: object) -> bool:
    """Return whether a number of the file is the one computed; null stands for NaN."""
    written = math.nan if written is None else written
    if isinstance(written, float | int) and isinstance(computed, float | int):
        return bool(np.isclose(written, computed, rtol=0, atol=LAST_DIGIT, equal_nan=True))
    return written == computed
