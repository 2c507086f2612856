"""Trained, honestly evaluated, comparable classifiers of the NIH malaria cell images."""
