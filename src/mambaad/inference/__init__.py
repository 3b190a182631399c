"""Trained models, ready to run: one protocol, and the engines behind it."""
