"""Real-IAD: thirty products from five sides each; JSON files list the training and test images.

::

    realiad_1024/<class>/{OK/S0001, NG/<type>/S0001}/*.{jpg,png}    images, and masks of defects
    realiad_jsons/<class>.json               all five views
    realiad_jsons_sv/<class>.json            one view
    realiad_jsons_fuiad_0.1/<class>.json     0, 10, 20 or 40 % of the training images defective

The folder of JSON files is the setting: give it as the root, for instance
``DATA/realiad_jsons_sv``. The folder above works if it has one setting only. Images are expected
beside the JSON files or above them, in ``realiad_1024``, ``_512``, ``_256``, ``_raw`` or directly,
in this order. (The JSON folders may lie in a further ``realiad_jsons``, as their archive unpacks.)

Each view has its own label: one on which a part's defect cannot be seen is good. In the
``fuiad`` (fully unsupervised) settings **training images may be defective**. ``train`` then lists
all of them with their true labels, which are for counting only: training must not use them.

Source: github.com/Tencent/AnomalyDetection_Real-IAD, ``README.md`` and
``datasets/explicit_dataset.py``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mambaad.data.readers.base import Complain, Layout, Split, listed_class
from mambaad.data.walk import text
from mambaad.errors import DataError
from mambaad.files import open_regular
from mambaad.types import ProductClass, Sample

_IMAGE_FOLDERS = ("realiad_1024", "realiad_512", "realiad_256", "realiad_raw", ".")


def _class_names(root: Path, split: Split) -> list[str]:
    return [text(path.stem) for path in _json_files(_setting(root))]


def _read_classes(
    root: Path, names: Sequence[str], split: Split, complain: Complain
) -> list[ProductClass]:
    files = {text(path.stem): path for path in _json_files(_setting(root))}
    return [_read_class(name, files[name], split, complain) for name in names]


def _read_class(name: str, path: Path, split: Split, complain: Complain) -> ProductClass:
    try:
        content = _content(path)
        images = _image_folder(path.parent, content["meta"]["prefix"])
    except DataError as error:
        complain(str(error))
        return ProductClass(name, ())
    normal = content["meta"]["normal_class"]

    def samples(entries: list[Any]) -> list[Sample]:
        found = []
        for number, entry in enumerate(entries):
            if not _is_entry(entry):
                complain(
                    f"{path}: image {number} lacks anomaly_class, image_path or mask_path; "
                    "download the file again"
                )
                continue
            mask = entry["mask_path"]
            # As its authors do: a view without a mask is good, whatever other views show.
            good = mask is None or entry["anomaly_class"] == normal
            found.append(
                Sample(
                    images / entry["image_path"],
                    name,
                    "good" if good else entry["anomaly_class"],
                    None if good else images / mask,
                )
            )
        return found

    train = samples(content["train"]) if split == "train" else ()
    return listed_class(name, train, samples(content["test"]), path, split, complain)


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("image_path"), str)
        and isinstance(entry.get("anomaly_class"), str)
        and isinstance(entry.get("mask_path", 0), str | None)
    )


def _setting(root: Path) -> Path:
    """Return the folder of JSON files: ``root`` itself, or the only one in it."""
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder; give the folder of Real-IAD's JSON files, as realiad_jsons"
        )
    if _json_files(root):
        return root
    settings = _settings(root)
    if len(settings) == 1:
        return settings[0]
    if settings:
        raise DataError(
            f"{root} has {len(settings)} settings; give the folder of one: "
            f"{', '.join(map(str, settings))}"
        )
    raise DataError(
        f"{root} has no JSON files that list images; unpack realiad_jsons.zip in it, and give its "
        "folder realiad_jsons"
    )


def _settings(root: Path) -> list[Path]:
    places = (*root.glob("realiad_jsons*"), *root.glob("realiad_jsons/realiad_jsons*"))
    return sorted(place for place in places if _json_files(place))


def _json_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.glob("*.json") if _lists_images(path))


def _lists_images(path: Path) -> bool:
    """Whether this is one of Real-IAD's files, judged by its ends: reading all thirty is slow."""
    try:
        with open_regular(path) as file:
            ends = file.read(4096)
            file.seek(max(0, path.stat().st_size - 4096))
            ends += file.read()
    except OSError:  # a folder or a pipe of that name, a broken link
        return False
    return b'"normal_class"' in ends and b'"prefix"' in ends


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content["train"], list) or not isinstance(content["test"], list):
            raise TypeError("train and test are not lists")
        if not all(isinstance(content["meta"][key], str) for key in ("prefix", "normal_class")):
            raise TypeError("prefix and normal_class are not text")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not a list of images with meta, train and test ({error}); download "
            "the file again"
        ) from error
    found: dict[str, Any] = content
    return found


def _image_folder(jsons: Path, prefix: str) -> Path:
    jsons = jsons.resolve()
    for base in (jsons, jsons.parent, jsons.parent.parent):
        for name in _IMAGE_FOLDERS:
            if (base / name / prefix).is_dir():
                return base / name / prefix
    raise DataError(
        f"{jsons.parent / _IMAGE_FOLDERS[0] / prefix} is missing; unpack the images of "
        f"{prefix.strip('/')} into {jsons.parent / _IMAGE_FOLDERS[0]}, or leave the class out "
        "with --classes"
    )


def _recognises(root: Path) -> bool:
    return bool(_json_files(root) or _settings(root))


LAYOUT = Layout(
    "real-iad",
    "Real-IAD",
    recognises=_recognises,
    class_names=_class_names,
    read_classes=_read_classes,
    published_classes=(
        *("audiojack", "bottle_cap", "button_battery", "end_cap", "eraser", "fire_hood", "mint"),
        *("mounts", "pcb", "phone_battery", "plastic_nut", "plastic_plug", "porcelain_doll"),
        *("regulator", "rolled_strip_base", "sim_card_set", "switch", "tape", "terminalblock"),
        *("toothbrush", "toy", "toy_brick", "transistor1", "u_block", "usb", "usb_adaptor"),
        *("vcpill", "wooden_beads", "woodstick", "zipper"),
    ),
)
