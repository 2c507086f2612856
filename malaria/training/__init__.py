"""A model fitted to the train split, its epoch chosen on the val split."""
