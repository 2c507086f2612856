"""The demo at its committed size: neither solved by shortcuts nor trivial."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from malaria.core.table import read_cells

from .conftest import REPO, Checkout, NewCheckout


@pytest.fixture(scope="module")
def whole_demo(new_checkout: NewCheckout) -> Checkout:
    """Return a checkout that has run the demo as it is committed: this one, where it has."""
    checkout = new_checkout("whole")
    here = Checkout(REPO, checkout.env)
    if here.dvc("status", check=False).stdout.endswith("up to date.\n"):
        return here
    (checkout.demo / "params.yaml").write_bytes((REPO / "demo/params.yaml").read_bytes())
    checkout.dvc("repro")
    return checkout


def crop_statistics(cells: pd.DataFrame, images: np.ndarray) -> np.ndarray:
    """Return colour means over the cell's pixels, and the crop's size: (N, 5)."""
    inside = images.max(axis=3) > 0
    colours = [
        (images[..., channel] * inside).sum(axis=(1, 2)) / inside.sum(axis=(1, 2))
        for channel in range(3)
    ]
    return np.column_stack([*colours, cells["width"], cells["height"]])


@pytest.mark.slow
def test_the_demo_is_neither_trivial_nor_solved_by_colour_and_size(whole_demo: Checkout) -> None:
    metrics = json.loads((whole_demo.demo / "reports/metrics.json").read_text())
    accuracy = metrics["test"]["accuracy"]
    assert 0.85 <= accuracy <= 0.97

    cells = read_cells(whole_demo.demo / "data/cells.csv")
    features = crop_statistics(cells, np.load(whole_demo.demo / "data/images.npy"))
    train, test = (cells["split"] == split for split in ("train", "test"))
    baseline = HistGradientBoostingClassifier(random_state=0)
    baseline.fit(features[train], cells["label"][train])
    assert accuracy >= baseline.score(features[test], cells["label"][test]) + 0.03
