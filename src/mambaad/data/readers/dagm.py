"""DAGM 2007: ten synthetic textures with one kind of defect each.

``Class<n>/{Train,Test}/{0001.PNG, Label/0001_label.PNG}``: an image is defective if it has a label,
an ellipse around the defect. Of the training images the good ones are used.

Source: the tree as "Weakly Supervised Learning for Industrial Optical Inspection" (DAGM 2007
competition) distributes it.
"""

from __future__ import annotations

import re
from pathlib import Path

from mambaad.data.readers.described import Description, layout_of
from mambaad.data.readers.folders import folders
from mambaad.data.walk import is_folder


def _recognises(root: Path) -> bool:
    return any(
        re.fullmatch(r"Class\d+", folder.name) and is_folder(folder / "Test" / "Label")
        for folder in folders(root)
    )


LAYOUT = layout_of(
    "dagm",
    "DAGM 2007",
    Description(
        train=("{class}/Train",),
        test=("{class}/Test",),
        masks=("{folder}/Label",),
        mask_suffixes=("_label",),
        defective_if="mask",
    ),
    _recognises,
    published_classes=tuple(f"Class{number}" for number in range(1, 11)),
    aside=lambda parts: parts[1:2] == ("Train",),
)
