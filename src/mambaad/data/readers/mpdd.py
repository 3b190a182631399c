"""MPDD: the MVTec AD layout, known by the names of its six classes of metal parts.

Source: the tree as anomalib's ``data/datasets/image/mpdd.py`` and ADer's
``data/gen_benchmark/mpdd.py`` read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mambaad.data.readers import mvtec
from mambaad.data.readers.base import Layout, Split
from mambaad.data.readers.folders import odd_folders
from mambaad.types import ProductClass

_PRODUCTS = (
    "bracket_black",
    "bracket_brown",
    "bracket_white",
    "connector",
    "metal_plate",
    "tubes",
)


def read_mpdd(
    root: Path, classes: Sequence[str] | None = None, *, split: Split = "train"
) -> list[ProductClass]:
    """List the images of MPDD: see :meth:`Layout.read`."""
    return LAYOUT.read(root, classes, split=split)


LAYOUT = Layout(
    "mpdd",
    "MPDD",
    recognises=partial(mvtec.holds_only, products=_PRODUCTS),
    class_names=mvtec.class_names,
    read_classes=mvtec.read_classes,
    products=_PRODUCTS,
    odd=partial(odd_folders, parts=mvtec.PARTS),
)
