"""What the occlusion check says about the heat maps, in numbers and sentences."""

import pandas as pd

from malaria.core.table import LABELS


def summarise(checks: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return how well the maps of each call point, by the call's name.

    `pointing` counts the cells in which hiding the hottest window costs more than hiding the
    average one. All but `cells` skip cells without a hottest window; falls are means,
    `correlation` is the median.
    """
    summary = {}
    for called, name in LABELS.items():
        cells = checks[checks["called"] == called]
        mapped = cells[cells["fall_hottest"].notna()]
        summary[name] = {
            "cells": len(cells),
            "mapped": len(mapped),
            "pointing": int((mapped["fall_hottest"] > mapped["fall_mean"]).sum()),
            "fall_hottest": float(mapped["fall_hottest"].mean()),
            "fall_mean": float(mapped["fall_mean"].mean()),
            "correlation": float(mapped["correlation"].median()),
        }
    return summary


def describe(called: str, summary: dict[str, float]) -> str:
    """Return what the summary of one call says."""
    if not summary["mapped"]:
        return f"called {called}: none of {summary['cells']} cells has a map"
    return (
        f"called {called}: hiding the hottest window costs more than hiding the average one in "
        f"{summary['pointing']} of {summary['mapped']} cells that have a map (of "
        f"{summary['cells']}); the logit falls by {summary['fall_hottest']:.2f} and "
        f"{summary['fall_mean']:.2f} on average; median rank correlation of heat and fall "
        f"{summary['correlation']:.2f}"
    )
