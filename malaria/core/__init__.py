"""What every stage uses: params, the table of cells, files found by their hash."""
