"""From a trained model to what is said of an image."""

from mambaad.inspection.inspector import Inspector, Scored

__all__ = ["Inspector", "Scored"]
