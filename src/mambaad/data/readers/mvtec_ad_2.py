"""MVTec AD 2, its public part: ``<class>/{train/good, test_public/{good,bad}}``.

::

    <class>/train/good/000_regular.png
    <class>/test_public/{good,bad}/000_overexposed.png
    <class>/test_public/ground_truth/bad/000_overexposed_mask.png

``validation`` (further good parts) and the private test sets, whose labels are not published, are
not read.

Source: Heckler-Kram et al., "The MVTec AD 2 Dataset", arXiv 2503.21622; the tree as anomalib's
``data/datasets/image/mvtecad2.py`` reads it.
"""

from __future__ import annotations

from pathlib import Path

from mambaad.data.readers.described import Description, layout_of
from mambaad.data.readers.folders import folders


def _recognises(root: Path) -> bool:
    return any((folder / "test_public").is_dir() for folder in folders(root))


LAYOUT = layout_of(
    "mvtec-ad-2",
    "MVTec AD 2",
    Description(
        train=("{class}/train/good",),
        test=("{class}/test_public/{type}",),
        masks=("{class}/test_public/ground_truth/{type}",),
    ),
    _recognises,
    published_classes=(
        *("can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts"),
    ),
    aside=lambda parts: parts[1:2] in (("validation",), ("test_private",), ("test_private_mixed",)),
)
