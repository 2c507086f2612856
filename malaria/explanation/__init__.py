"""Where in a cell the evidence for its call lies."""
