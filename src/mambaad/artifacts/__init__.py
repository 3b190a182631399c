"""What is kept: run folders, weights, bundles, and the registry of bundles."""
