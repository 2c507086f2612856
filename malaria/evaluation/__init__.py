"""Every number that follows from predictions.csv."""
