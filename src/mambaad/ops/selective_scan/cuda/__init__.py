"""The selective scan on an NVIDIA GPU, in CUDA C++.

Programs as in ``triton/``, a warp each that goes through a segment of the sequence with the states
in its registers, but each lane has a square of 2 channels x 4 states, sums over states and channels
are halved from lane to lane, which Triton's reductions do not do, and the time steps are expanded
within. For up to 16 states and sums in any order; other scans are Triton's.

``device.cuh`` has what the hardware must do, ``tile.cuh`` the tile of a program and what it reads,
``forward.cu`` and ``backward.cu`` the kernels. ``program`` compiles and launches them, ``scans``
gives them a plan's tensors.
"""
