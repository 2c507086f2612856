"""Models for use."""
