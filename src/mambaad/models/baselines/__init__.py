"""The systems that MambaAD is compared with."""
