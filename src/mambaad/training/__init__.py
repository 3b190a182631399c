"""From good parts to weights: the loop, its batches, its loss, and its checkpoints."""
