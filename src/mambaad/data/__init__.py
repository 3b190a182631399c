"""Data sets: reading their layouts, checking them, and loading batches; a synthetic factory."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambaad.data.check import check_images
    from mambaad.data.dataset import ProductClass
    from mambaad.data.images import IMAGE_SUFFIXES, is_image, read_image, read_mask
    from mambaad.data.loader import load_batches
    from mambaad.data.mvtec import read_mvtec
    from mambaad.data.transforms import (
        Preprocess,
        resize_mask_bilinear,
        resize_mask_nearest,
    )

__all__ = [
    "IMAGE_SUFFIXES",
    "Preprocess",
    "ProductClass",
    "check_images",
    "is_image",
    "load_batches",
    "read_image",
    "read_mask",
    "read_mvtec",
    "resize_mask_bilinear",
    "resize_mask_nearest",
]

# Imported on first use: the processes that draw synthetic parts need no PyTorch, which takes them
# seconds to load.
_MODULES = {
    "IMAGE_SUFFIXES": "images",
    "Preprocess": "transforms",
    "ProductClass": "dataset",
    "check_images": "check",
    "is_image": "images",
    "load_batches": "loader",
    "read_image": "images",
    "read_mask": "images",
    "read_mvtec": "mvtec",
    "resize_mask_bilinear": "transforms",
    "resize_mask_nearest": "transforms",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mambaad.data' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"mambaad.data.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
