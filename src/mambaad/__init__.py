"""One visual anomaly detector for all of a factory's products."""
