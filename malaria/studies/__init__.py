"""Studies over many runs, and tools around the cells."""
