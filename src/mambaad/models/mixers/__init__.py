"""State-space layers, which mix the cells of a map."""
