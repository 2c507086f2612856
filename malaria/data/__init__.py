"""From an address to a table of cells and an array of their images."""
