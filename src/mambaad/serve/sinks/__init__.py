"""Where verdicts go besides HTTP."""
