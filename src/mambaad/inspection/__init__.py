"""Inspection: from a model's observation of an image to a verdict."""
