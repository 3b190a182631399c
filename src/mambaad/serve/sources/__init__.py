"""Where parts come from besides HTTP."""
