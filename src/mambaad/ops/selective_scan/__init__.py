"""The selective scan: a readable reference, and the backends that are tested against it."""

from mambaad.ops.selective_scan.dispatch import selective_scan

__all__ = ["selective_scan"]
