"""Metrics of anomaly detection: pure functions, and the protocols that accumulate over images.

``README.md`` gives the definitions, and the module of each.
"""
