"""Code that the networks share: building, saving and splitting a model."""
