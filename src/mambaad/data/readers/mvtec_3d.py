"""MVTec 3D-AD, its colour images: ``<class>/{train,validation,test}/<type>/{rgb,gt,xyz}/000.png``.

Good parts are of the type ``good``; in ``test`` they have (empty) masks too, which are not used.
``validation`` has further good parts, which are training images, as in ADer, which computed the
published figures of MambaAD. The point clouds (``xyz``) are not read.

Source: ``data/ad_dataset.py`` of ADer (validation joins training), anomalib's
``data/datasets/depth/mvtec_3d.py`` (the tree).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mambaad.data.readers import mvtec
from mambaad.data.readers.base import Complain, Layout, Split
from mambaad.data.readers.folders import by_text, complain_of_lonely, find_masks, folders, images
from mambaad.data.walk import text
from mambaad.types import ProductClass, Sample


def _read_classes(
    root: Path, names: Sequence[str], split: Split, complain: Complain
) -> list[ProductClass]:
    places = by_text(folders(root))
    return [
        ProductClass(
            name,
            _train_samples(name, places[name], complain) if split == "train" else (),
            _test_samples(name, places[name], complain),
        )
        for name in names
    ]


def _train_samples(name: str, folder: Path, complain: Complain) -> tuple[Sample, ...]:
    places = [folder / part / "good" / "rgb" for part in ("train", "validation")]
    train = tuple(Sample(path, name) for place in places for path in images(place, complain))
    if len(train) < 2:
        complain(
            f"{places[0]} has {len(train)} images, expected at least 2 of good parts; unpack the "
            "data set again, or leave the class out with --classes"
        )
    return train


def _test_samples(name: str, folder: Path, complain: Complain) -> tuple[Sample, ...]:
    test: list[Sample] = []
    for type_folder in folders(folder / "test"):
        good = type_folder.name == "good"
        paths = images(type_folder / "rgb", complain)
        pairs, lonely = find_masks(type_folder / "gt", paths, type_folder / "rgb", complain)
        for path in paths:
            mask = pairs.get(path)
            if mask is None and not good:
                complain(
                    f"{path} has no mask; expected {type_folder / 'gt' / path.name}: unpack the "
                    "data set again"
                )
            test.append(Sample(path, name, text(type_folder.name), None if good else mask))
        complain_of_lonely(lonely, type_folder / "rgb", complain)
    return tuple(test)


def _recognises(root: Path) -> bool:
    return mvtec.holds(
        root,
        lambda folder: any(
            (kind / "rgb").is_dir() for part in ("train", "test") for kind in folders(folder / part)
        ),
    )


LAYOUT = Layout(
    "mvtec-3d",
    "MVTec 3D-AD",
    recognises=_recognises,
    class_names=partial(mvtec.class_names, good="good/rgb"),
    read_classes=_read_classes,
    published_classes=(
        *("bagel", "cable_gland", "carrot", "cookie", "dowel"),
        *("foam", "peach", "potato", "rope", "tire"),
    ),
    form="<class>/{train,validation}/good/rgb and <class>/test/<type>/{rgb,gt}",
    aside=lambda parts: "xyz" in parts or "calibration" in parts or parts[-3:-1] == ("good", "gt"),
)
