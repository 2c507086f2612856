"""MLflow as a view of Git, dvc.lock and DVC's cache."""
