"""One frozen, strict model for each section of params.yaml."""
