"""The networks: MambaAD block by block, the systems it is compared with, and their scores."""
