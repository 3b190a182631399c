"""State-space blocks: what mixes the cells of a map."""
