"""Training: from good parts to weights; the loop, its batches, losses and checkpoints."""
