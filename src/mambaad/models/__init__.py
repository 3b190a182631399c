"""The encoder, the decoder, and the function that assembles them."""

from mambaad.models.build import build_model
from mambaad.models.mambaad import MambaAD

__all__ = ["MambaAD", "build_model"]
