"""MVTec LOCO AD: logical and structural anomalies, each with a folder of masks to be joined.

::

    <class>/{train,validation}/good/000.png
    <class>/test/{good,logical_anomalies,structural_anomalies}/000.png
    <class>/ground_truth/<type>/000/{000,001}.png        one file a region that may be defective
    <class>/defects_config.json                           the kinds of defects, by a mask's value

``validation`` holds further good parts, which are not trained on: it is for choosing settings.

Source: Bergmann et al., "Beyond Dents and Scratches", IJCV 2022; the tree as anomalib's
``data/datasets/image/mvtec_loco.py`` reads it.
"""

from __future__ import annotations

from pathlib import Path

from mambaad.data.readers.described import Description, layout_of
from mambaad.data.readers.folders import folders
from mambaad.data.walk import is_folder, walk


def _recognises(root: Path) -> bool:
    for folder in folders(root):
        for kind in folders(folder / "ground_truth"):
            if folders(kind) and is_folder(folder / "test" / kind.name):
                stems = {path.stem for path in walk(folder / "test" / kind.name).images}
                if any(mask.parent.name in stems for mask in walk(kind).images):
                    return True
    return False


LAYOUT = layout_of(
    "mvtec-loco",
    "MVTec LOCO AD",
    Description(
        train=("{class}/train/good",),
        test=("{class}/test/{type}",),
        masks=("{class}/ground_truth/{type}/{name}",),
    ),
    _recognises,
    published_classes=(
        *("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors"),
    ),
    aside=lambda parts: parts[1:2] == ("validation",),
)
