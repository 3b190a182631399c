"""Data sets: reading their layouts, checking them, and loading batches."""

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
