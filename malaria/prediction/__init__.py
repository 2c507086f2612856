"""What a saved model predicts for cells, in one table."""
