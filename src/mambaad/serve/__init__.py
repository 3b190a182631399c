"""The inspection service: ``mambaad serve``, its store, its API and its client.

Importing this package loads neither PyTorch nor FastAPI; the client needs httpx alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambaad.serve.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    if name == "Client":
        from mambaad.serve.client import Client

        return Client
    raise AttributeError(f"module 'mambaad.serve' has no attribute '{name}'")
