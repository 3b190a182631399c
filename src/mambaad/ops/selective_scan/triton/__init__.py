"""The selective scan on a GPU, in Triton.

A program has one image, one direction, a block of channels and a segment of the sequence. It goes
through the segment a tile of steps at a time; within a tile the recurrence is an associative scan
over [steps, channels, states] (Blelloch 1990). It reads the map through the order table, expands
the time step itself, and adds its results at the cells they belong to, so that nothing is permuted
in memory. Where images, directions and channels do not fill the device, the sequence is cut into
segments: a first pass finds the state at the end of each from a zero state, and from these follow
the states at their beginnings.

Inputs may be float32, bfloat16 or float16; all arithmetic and every sum is float32. Sums over
directions, images and channel blocks are atomic: results vary by rounding from run to run.
``TRITON_INTERPRET=1`` runs the same code on a CPU, slowly.

``launch`` holds the functions of tensors, ``forward`` and ``backward`` the kernels, and ``tile``
what both kernels read and compute of a tile.
"""
