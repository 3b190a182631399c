"""COCO-AD: COCO 2017 with 20 of its 80 categories held out as anomalous, in four splits.

::

    annotations/instances_{train,val}2017.json, train2017/*.jpg, val2017/*.jpg    as COCO has them
    meta_20_<k>.json              training and test images of split k = 0 .. 3
    val2017_mask_ad_20_<k>/       masks of the held-out objects

The last two are made by :func:`mambaad.data.readers.coco_ad_build.build_coco_ad` (``mambaad data
build-coco-ad``), or by ADer's script, which writes the same files. Each split is a class,
``coco_<k>``, and a data set of its own: what one split holds out, the others train on. Published
figures for COCO-AD are means over four models, one a split.

Source: ADer's ``data/gen_benchmark/coco.py`` and ``data/ad_dataset.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mambaad.data.readers.base import Complain, Layout, Split, listed_class
from mambaad.documents import read_json
from mambaad.errors import DataError
from mambaad.types import ProductClass, Sample

SPLITS = (0, 1, 2, 3)
ANNOTATIONS = {part: Path(f"annotations/instances_{part}2017.json") for part in ("train", "val")}


def meta_file(root: Path, k: int) -> Path:
    """Return the file that lists the training and test images of split ``k``."""
    return root / f"meta_20_{k}.json"


def _class_names(root: Path, split: Split) -> list[str]:
    names = [f"coco_{k}" for k in SPLITS if meta_file(root, k).is_file()]
    if not names:
        raise DataError(
            f"{meta_file(root, 0)} is missing; make COCO-AD from the annotations of COCO 2017: "
            f"mambaad data build-coco-ad {root}"
        )
    return names


def _read_classes(
    root: Path, names: Sequence[str], split: Split, complain: Complain
) -> list[ProductClass]:
    return [_read_class(root, name, split, complain) for name in names]


def _read_class(root: Path, name: str, split: Split, complain: Complain) -> ProductClass:
    path = meta_file(root, int(name.removeprefix("coco_")))
    try:
        parts = _content(path)
    except DataError as error:
        complain(str(error))
        return ProductClass(name, ())
    train = [_sample(root, name, entry) for entry in parts["train"]] if split == "train" else ()
    test = [_sample(root, name, entry) for entry in parts["test"]]
    return listed_class(name, train, test, path, split, complain)


def _sample(root: Path, name: str, entry: dict[str, Any]) -> Sample:
    defective = bool(entry["anomaly"])
    return Sample(
        root / entry["img_path"],
        name,
        "anomaly" if defective else "good",
        root / entry["mask_path"] if defective else None,
    )


_MOST_BYTES = 2**28  # a line for each of COCO's 123,287 images


def _content(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the entries of each part, and check that they have the keys needed."""
    try:
        content = read_json(path, most_bytes=_MOST_BYTES)
        parts = {part: list(content[part]["coco"]) for part in ("train", "test")}
        for entry in (*parts["train"], *parts["test"]):
            if not (isinstance(entry["img_path"], str) and isinstance(entry["mask_path"], str)):
                raise TypeError("img_path and mask_path are not text")
            entry["anomaly"]  # a KeyError if it is missing
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not a list of images as ADer writes it ({error}); remove it, and make it "
            f"again: mambaad data build-coco-ad {path.parent}"
        ) from error
    return parts


def _recognises(root: Path) -> bool:
    if not root.is_dir():
        return False
    return (root / ANNOTATIONS["val"]).is_file() or any(
        re.fullmatch(r"meta_20_[0-3]\.json", path.name) for path in root.glob("meta_20_*.json")
    )


LAYOUT = Layout(
    "coco-ad",
    "COCO-AD",
    recognises=_recognises,
    class_names=_class_names,
    read_classes=_read_classes,
    published_classes=tuple(f"coco_{k}" for k in SPLITS),
    aside=lambda parts: parts[0] in ("train2017", "val2017", "annotations"),
    one_by_one=True,
)
