"""The readers of data sets, a file for each layout; the table of them is ``data/layouts.py``."""
