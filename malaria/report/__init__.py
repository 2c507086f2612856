"""A run as one page and as a model card."""
