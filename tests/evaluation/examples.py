"""Predictions that several test files share."""

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from sklearn import metrics as sk

from malaria.evaluation.measures import cross_entropies, equal_mass_bins
from malaria.evaluation.metrics import compute_metrics
from malaria.prediction.table import arrays_of

# Six uninfected and four parasitized cells; at .6 there are TP 3, FN 1, FP 1, TN 5.
INFECTED = [0.9, 0.8, 0.6, 0.3]
HEALTHY = [0.7, 0.4, 0.2, 0.1, 0.05, 0.02]


def arrays(infected: list[float], healthy: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probabilities."""
    label = np.array([1] * len(infected) + [0] * len(healthy))
    return label, np.array([*infected, *healthy], dtype="float64")


def predictions_of(label: np.ndarray, probability: np.ndarray) -> pd.DataFrame:
    """Return a table of one patient for every two cells."""
    rows = range(len(label))
    return pd.DataFrame(
        {
            "cell_id": [f"cell_{row}" for row in rows],
            "patient": [f"C{row // 2}" for row in rows],
            "split": "val",
            "label": label,
            "logit": logit(probability.clip(1e-9, 1 - 1e-9)),
            "probability": probability,
        }
    )


def tiny() -> pd.DataFrame:
    return predictions_of(*arrays(INFECTED, HEALTHY))


def draw(seed: int, count: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and overlapping probabilities, some of them equal."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    return label, expit(rng.normal(3 * (label - 0.5), 2)).round(3 if seed % 2 else 6)


def calibration_error(label: np.ndarray, probability: np.ndarray) -> float:
    """Return the calibration error, to six digits."""
    return compute_metrics(predictions_of(label, probability), 0.5)["ece"]


def by_scikit_learn(predictions: pd.DataFrame, threshold: float) -> dict[str, float]:
    """Return the metrics of cells, all but the calibration error computed by other code."""
    label, logit, probability = arrays_of(predictions)
    called = (probability >= threshold).astype(int)
    bins = equal_mass_bins(probability)
    return {
        "accuracy": sk.accuracy_score(label, called),
        "sensitivity": sk.recall_score(label, called),
        "specificity": sk.recall_score(label, called, pos_label=0),
        "precision": sk.precision_score(label, called, zero_division=0),
        "f1": sk.f1_score(label, called),
        "mcc": sk.matthews_corrcoef(label, called),
        "roc_auc": sk.roc_auc_score(label, logit),
        "pr_auc": sk.average_precision_score(label, logit),
        "log_loss": cross_entropies(label, logit).mean(),
        "brier": sk.brier_score_loss(label, probability),
        "ece": sum(abs((probability - label)[rows].sum()) for rows in bins) / len(label),
    }
