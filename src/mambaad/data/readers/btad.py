"""BTAD: the MVTec AD layout, but good parts are ``ok``, defective ones ``ko``.

``{01,02,03}/{train/ok, test/{ok,ko}, ground_truth/ko}``; images are ``.bmp`` or ``.png``, a mask
has the name of its image, and perhaps another suffix.

Source: the archive's tree as anomalib's ``data/datasets/image/btech.py`` and ADer's
``data/gen_benchmark/btad.py`` read it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from mambaad.data.readers import mvtec
from mambaad.data.readers.base import Layout
from mambaad.data.walk import is_folder


def _recognises(root: Path) -> bool:
    return mvtec.holds(
        root,
        lambda folder: is_folder(folder / "train" / "ok") or is_folder(folder / "test" / "ok"),
    )


LAYOUT = Layout(
    "btad",
    "BTAD",
    recognises=_recognises,
    class_names=partial(mvtec.class_names, good="ok"),
    read_classes=partial(mvtec.read_classes, good="ok"),
    published_classes=("01", "02", "03"),
    form=mvtec.form("ok"),
    aside=lambda parts: parts[1:3] == ("ground_truth", "ok"),
)
