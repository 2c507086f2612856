"""What dvc.yaml, dvc.lock and Git say; no DVC is needed to read it."""
