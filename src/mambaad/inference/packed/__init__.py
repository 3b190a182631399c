"""The form for inference of each block, under the name of the block."""
