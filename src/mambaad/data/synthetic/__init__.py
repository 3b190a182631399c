"""A factory of synthetic parts: products rendered with defects and exact masks.

A further product is a plan and a build function, and one line in ``catalogue.py``.
"""
