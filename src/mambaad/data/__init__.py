"""Data sets: reading their layouts, checking them, and loading batches; a synthetic factory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mambaad.lazy import lazy_names

if TYPE_CHECKING:
    from mambaad.data.check import check_images
    from mambaad.data.dataset import ProductClass
    from mambaad.data.holdout import keep_out
    from mambaad.data.images import IMAGE_SUFFIXES, is_image, read_image, read_mask
    from mambaad.data.inventory import Inventory, check_data
    from mambaad.data.layouts import class_names, read_data
    from mambaad.data.loader import load_batches, read_ahead, readers
    from mambaad.data.mvtec import read_mvtec
    from mambaad.data.transforms import (
        Preprocess,
        resize_mask_bilinear,
        resize_mask_nearest,
    )

__all__ = [
    "IMAGE_SUFFIXES",
    "Inventory",
    "Preprocess",
    "ProductClass",
    "check_data",
    "check_images",
    "class_names",
    "is_image",
    "keep_out",
    "load_batches",
    "read_ahead",
    "read_data",
    "read_image",
    "read_mask",
    "read_mvtec",
    "readers",
    "resize_mask_bilinear",
    "resize_mask_nearest",
]

# Imported on first use: the processes that draw synthetic parts need no PyTorch, which takes them
# seconds to load.
_MODULES = {
    "IMAGE_SUFFIXES": "mambaad.data.images",
    "Inventory": "mambaad.data.inventory",
    "Preprocess": "mambaad.data.transforms",
    "ProductClass": "mambaad.data.dataset",
    "check_data": "mambaad.data.inventory",
    "check_images": "mambaad.data.check",
    "class_names": "mambaad.data.layouts",
    "is_image": "mambaad.data.images",
    "keep_out": "mambaad.data.holdout",
    "load_batches": "mambaad.data.loader",
    "read_ahead": "mambaad.data.loader",
    "read_data": "mambaad.data.layouts",
    "read_image": "mambaad.data.images",
    "read_mask": "mambaad.data.images",
    "read_mvtec": "mambaad.data.mvtec",
    "readers": "mambaad.data.loader",
    "resize_mask_bilinear": "mambaad.data.transforms",
    "resize_mask_nearest": "mambaad.data.transforms",
}

__getattr__ = lazy_names(__name__, _MODULES)
