"""The readers of data sets: one file a layout, listed in ``mambaad/data/layouts.py``.

``base.py`` defines what a layout is; ``folders.py`` helps with layouts made of named folders.
"""
