"""MambaAD block by block, the systems that it is compared with, and the scoring of their maps."""
