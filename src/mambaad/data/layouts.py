"""The table of data set layouts that can be read.

A further layout is one file in ``readers/``, which defines a
:class:`mambaad.data.readers.base.Layout`, and one line in ``LAYOUTS``. Nothing else knows of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mambaad.data.readers import (
    anomalib_folder,
    btad,
    coco_ad,
    dagm,
    kolektor,
    mpdd,
    mvtec,
    mvtec_3d,
    mvtec_ad_2,
    mvtec_loco,
    real_iad,
    uni_medical,
    visa,
)
from mambaad.data.readers.base import Layout, Split
from mambaad.errors import ConfigError
from mambaad.types import ProductClass

# The first layout that recognises a folder reads it: the plain folders of MVTec AD come last.
LAYOUTS: tuple[Layout, ...] = (
    visa.LAYOUT,
    coco_ad.LAYOUT,
    real_iad.LAYOUT,
    mvtec_3d.LAYOUT,
    btad.LAYOUT,
    mpdd.LAYOUT,
    uni_medical.LAYOUT,
    mvtec_loco.LAYOUT,
    mvtec_ad_2.LAYOUT,
    kolektor.SDD,
    kolektor.SDD2,
    dagm.LAYOUT,
    anomalib_folder.LAYOUT,
    mvtec.LAYOUT,
)


def find_layout(root: Path, name: str | None = None) -> Layout:
    """Return the layout of that name, or that is declared, or the one that recognises a folder.

    A folder that none recognises counts as MVTec AD's, whose reader says what is wrong with it.

    Raises:
        ConfigError: no layout has that name.
    """
    if name is not None:
        for layout in LAYOUTS:
            if layout.name == name:
                return layout
        if name.lstrip().startswith("{") or name.endswith((".yaml", ".yml", ".json")):
            from mambaad.data.layout_file import declared  # a fifth of a second

            return declared(name).layout()
        known = ", ".join(layout.name for layout in LAYOUTS)
        raise ConfigError(f"--layout: expected one of {known}, or a .yaml file, got '{name}'")
    root = Path(root)
    return next((layout for layout in LAYOUTS if layout.recognises(root)), mvtec.LAYOUT)


def read_data(
    root: Path,
    classes: Sequence[str] | None = None,
    *,
    split: Split = "train",
    layout: str | None = None,
) -> list[ProductClass]:
    """List the images of a data set in any known layout; nothing is decoded.

    Args:
        root: the folder of the data set.
        classes: the classes wanted; all by default.
        split: the purpose of the images: see :meth:`Layout.read`.
        layout: the layout's name; recognised from the folder without it.

    Raises:
        ConfigError: no layout has that name.
        DataError: no or unknown classes, or the first problem; names the path.
    """
    return find_layout(root, layout).read(root, classes, split=split)


def class_names(root: Path, *, split: Split = "train", layout: str | None = None) -> list[str]:
    """Name the classes of a data set in any known layout.

    Raises:
        ConfigError, DataError: see :func:`read_data`.
    """
    return find_layout(root, layout).class_names(Path(root), split)
