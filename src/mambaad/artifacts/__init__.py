"""Artifacts on disk: run folders, weights, bundles, and the registry of bundles."""
