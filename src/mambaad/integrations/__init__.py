"""MambaAD in the frameworks of others."""
