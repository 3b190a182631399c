"""The form for inference of each block, under its name."""
