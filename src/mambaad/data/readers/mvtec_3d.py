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
from mambaad.data.readers.folders import folders, images, masks, odd_folders
from mambaad.types import ProductClass, Sample


def _read_classes(
    root: Path, names: Sequence[str], split: Split, complain: Complain
) -> list[ProductClass]:
    return [
        ProductClass(
            name,
            _train_samples(root / name, complain) if split == "train" else (),
            _test_samples(root / name, complain),
        )
        for name in names
    ]


def _train_samples(folder: Path, complain: Complain) -> tuple[Sample, ...]:
    places = [folder / part / "good" / "rgb" for part in ("train", "validation")]
    train = tuple(Sample(path, folder.name) for place in places for path in images(place, complain))
    if len(train) < 2:
        complain(
            f"{places[0]} has {len(train)} images, expected at least 2 of good parts; unpack the "
            "data set again, or leave the class out with --classes"
        )
    return train


def _test_samples(folder: Path, complain: Complain) -> tuple[Sample, ...]:
    test: list[Sample] = []
    for type_folder in folders(folder / "test"):
        good = type_folder.name == "good"
        found = masks(type_folder / "gt", complain)
        for path in images(type_folder / "rgb", complain):
            mask = found.pop(path.stem, None)
            if mask is None and not good:
                complain(
                    f"{path} has no mask; expected {type_folder / 'gt' / path.name}: unpack the "
                    "data set again"
                )
            test.append(Sample(path, folder.name, type_folder.name, None if good else mask))
        for mask in found.values():
            complain(
                f"{mask} is a mask without an image in {type_folder / 'rgb'}; remove it, or add "
                "its image"
            )
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
    odd=partial(odd_folders, parts=("train", "validation", "test", "calibration")),
)
