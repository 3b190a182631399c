"""The selective scan on a GPU, in Triton.

A program is one warp: it has one image, one direction, a block of channels and a segment of the
sequence, and goes through it one step after the other with the states in its registers. It reads
the map through the order table and adds its results at the cells they belong to, so that nothing is
permuted in memory. Where images, directions and channels do not fill the device, the sequence is
cut into segments: a first pass finds the state at the end of each from a zero state, and from these
follow the states at their beginnings.

dt, which every state of a channel shares, is expanded before the scan by tensor cores and stored in
the order of the steps; the backward stores its gradient in the same place, and two products give
those of low, W and the bias.

All arithmetic and every sum is float32. Sums over
directions, and for B and C over blocks of channels, are atomic: results vary by rounding from run
to run, unless ``torch.use_deterministic_algorithms`` is set, which costs memory for each direction.
``TRITON_INTERPRET=1`` runs the same code on a CPU, slowly.

``scans`` and ``products`` launch what ``forward``, ``backward`` and ``time_steps`` compute;
``step`` has what both directions of the scan read and compute.
"""

import os

# Triton 3.9 warns where it is not said, in every process; this is what it has always done.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
