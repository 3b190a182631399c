"""Benchmarks: systems x data sets x seeds under one protocol, and tables of the results."""
