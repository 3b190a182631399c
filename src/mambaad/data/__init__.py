"""Data sets: reading their layouts, checking them, and loading batches; a synthetic factory."""
