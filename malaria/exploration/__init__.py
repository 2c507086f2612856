"""The cells themselves, before any model."""
