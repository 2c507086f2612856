"""What people call the metrics, on every page, picture and table that is made for them."""

NAMES = {
    "f1": "F1",
    "mcc": "MCC",
    "roc_auc": "ROC AUC",
    "pr_auc": "average precision",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "ECE",
}


def name_of(metric: str) -> str:
    """Return what people call a metric; its key, if NAMES has no other name."""
    return NAMES.get(metric, metric)
