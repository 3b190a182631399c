"""The conversion of COCO 2017 to COCO-AD, as ADer makes it.

In split k the categories 20 k .. 20 k + 19, in the order of their ids, are held out. Training
images are those of ``train2017`` without any of them; test images all of ``val2017``, anomalous if
they have one. Images without any annotation are in neither. A mask is the union of the held-out
objects, crowds included: each polygon, its corners cut to whole pixels, filled with its outline.

Source: ADer's ``data/gen_benchmark/coco.py``, which uses mmdet, pycocotools and OpenCV.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64
from PIL import Image

from mambaad.data.readers.coco_ad import ANNOTATIONS, SPLITS, meta_file
from mambaad.documents import read_json
from mambaad.errors import ConfigError, DataError
from mambaad.files import folder_written_whole, locked, write_text

_CATEGORIES, _HELD_OUT = 80, 20


def build_coco_ad(
    root: Path,
    splits: Iterable[int] = SPLITS,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[int]:
    """Write ``meta_20_<k>.json`` and the masks of ``val2017_mask_ad_20_<k>`` beside the images.

    A split exists completely or not at all: its meta file is written last. Reading the annotations
    of ``train2017`` takes about 3 GB of memory.

    Args:
        root: the folder with ``annotations``, ``train2017`` and ``val2017``.
        splits: which of 0 .. 3 to make; an existing one is left as it is.
        progress: called with the number of masks drawn and their total.

    Returns:
        The splits that were made.

    Raises:
        ConfigError: a split other than 0 .. 3.
        DataError: images or annotations are missing, or are not those of COCO 2017.
        RunError: writing failed, or another process makes splits there.
    """
    root = Path(root)
    wanted = sorted(set(splits))
    if not set(wanted) <= set(SPLITS):
        raise ConfigError(f"--split: expected some of {', '.join(map(str, SPLITS))}, got {wanted}")
    wanted = [k for k in wanted if not meta_file(root, k).is_file()]
    if not wanted:
        return []
    for part in ANNOTATIONS:
        if not (root / f"{part}2017").is_dir():
            raise DataError(
                f"{root / f'{part}2017'} is not a folder; unpack {part}2017.zip of COCO in {root}"
            )
    with locked(root):
        return _build(root, wanted, progress)


def _build(root: Path, wanted: list[int], progress: Callable[[int, int], None]) -> list[int]:
    val = _annotations(root / ANNOTATIONS["val"])
    held_out = _held_out(root / ANNOTATIONS["val"], val["categories"])
    test = _by_image(val["annotations"])
    images = {image["id"]: image for image in val["images"]}
    # Of the training images only names and categories are kept: their outlines take gigabytes.
    train = _names_and_kinds(_annotations(root / ANNOTATIONS["train"]))

    hidden = {k: {i: _of(objects, held_out[k]) for i, objects in test.items()} for k in wanted}
    total = sum(bool(objects) for split in hidden.values() for objects in split.values())
    done = 0

    def drawn() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    for k in wanted:
        entries = _draw_masks(root / f"val2017_mask_ad_20_{k}", hidden[k], images, drawn)
        good = [
            _entry(f"train2017/{name}") for name, kinds in train if kinds.isdisjoint(held_out[k])
        ]
        content = {"train": {"coco": good}, "test": {"coco": entries}}
        write_text(meta_file(root, k), json.dumps(content))
    return wanted


def _draw_masks(
    folder: Path,
    hidden: Mapping[int, list[dict[str, Any]]],
    images: Mapping[int, dict[str, Any]],
    drawn: Callable[[], None],
) -> list[dict[str, object]]:
    """Write the masks of a split, and list its test images.

    Args:
        folder: of the masks.
        hidden: the held-out objects of each test image.
        images: what the annotations say of each.
        drawn: called after each mask.
    """
    entries = []
    with folder_written_whole(folder) as temporary:
        for i, objects in hidden.items():
            name = images[i]["file_name"]
            if not objects:
                entries.append(_entry(f"val2017/{name}"))
                continue
            mask = Path(name).with_suffix(".png").name
            try:
                pixels = _mask(objects, images[i]["height"], images[i]["width"])
            except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
                raise DataError(
                    f"the outline of an object in {name} cannot be drawn ({error}); download the "
                    "annotations of COCO again"
                ) from error
            Image.fromarray(pixels.astype(np.uint8) * 255).save(temporary / mask)
            entries.append(_entry(f"val2017/{name}", f"{folder.name}/{mask}"))
            drawn()
        # Masks without a meta file are left over from an attempt that was cut short.
        shutil.rmtree(folder, ignore_errors=True)
    return entries


def _entry(image: str, mask: str = "") -> dict[str, object]:
    return {
        "img_path": image,
        "mask_path": mask,
        "cls_name": "coco",
        "specie_name": "",
        "anomaly": int(bool(mask)),
    }


_MOST_BYTES = 2**30  # instances_train2017.json has 449 MB
_NEEDED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "images": {"id": int, "file_name": str, "height": int, "width": int},
    "annotations": {"id": int, "image_id": int, "category_id": int, "segmentation": (list, dict)},
    "categories": {"id": int},
}


def _annotations(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the lists of an annotation file; their entries have the keys in ``_NEEDED``."""
    if not path.exists():
        raise DataError(
            f"{path} is missing; unpack annotations_trainval2017.zip of COCO in "
            f"{path.parent.parent}"
        )
    try:
        content: dict[str, list[dict[str, Any]]] = read_json(path, most_bytes=_MOST_BYTES)
        for kind, keys in _NEEDED.items():
            for key, types in keys.items():
                if not all(isinstance(entry.get(key), types) for entry in content[kind]):
                    raise ValueError(f"one of its {kind} lacks {key}, or has another kind of it")
        known = {image["id"] for image in content["images"]}
        if not all(found["image_id"] in known for found in content["annotations"]):
            raise ValueError("an annotation belongs to no image")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not an annotation file of COCO 2017 ({error}); download it again"
        ) from error
    return content


def _held_out(path: Path, categories: list[dict[str, Any]]) -> list[frozenset[int]]:
    """List the ids of the categories held out in each split."""
    ids = sorted(category["id"] for category in categories)
    if len(ids) != _CATEGORIES:
        raise DataError(
            f"{path} has {len(ids)} categories, expected the {_CATEGORIES} of COCO 2017; download "
            "it again"
        )
    return [frozenset(ids[_HELD_OUT * k : _HELD_OUT * (k + 1)]) for k in SPLITS]


def _by_image(annotations: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for annotation in annotations:
        found.setdefault(annotation["image_id"], []).append(annotation)
    return found


def _names_and_kinds(content: dict[str, list[dict[str, Any]]]) -> list[tuple[str, set[int]]]:
    """List the file of each image that has objects, and their categories."""
    names = {image["id"]: image["file_name"] for image in content["images"]}
    kinds: dict[int, set[int]] = {}
    for annotation in content["annotations"]:
        kinds.setdefault(annotation["image_id"], set()).add(annotation["category_id"])
    return [(names[i], of_image) for i, of_image in kinds.items()]


def _of(objects: list[dict[str, Any]], kinds: frozenset[int]) -> list[dict[str, Any]]:
    return [found for found in objects if found["category_id"] in kinds]


def _mask(objects: Sequence[dict[str, Any]], height: int, width: int) -> Bool[np.ndarray, "h w"]:
    mask = np.zeros((height, width), bool)
    for found in objects:
        shape = found["segmentation"]
        if isinstance(shape, list):
            for polygon in shape:
                # Towards zero, as NumPy's conversion of ADer's corners.
                corners = np.asarray(polygon).reshape(-1, 2).astype(np.int64)
                fill_polygon(mask, corners)
        elif isinstance(shape.get("counts"), list):
            mask |= _from_runs(shape["counts"], *shape["size"])
        else:
            raise DataError(
                f"annotation {found['id']} of COCO has a compressed mask, expected a polygon or a "
                "list of run lengths as in instances_val2017.json; download the file again"
            )
    return mask


def _from_runs(counts: Sequence[int], height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """Decode run lengths, which run down the columns and begin with those of False."""
    values = np.arange(len(counts)) % 2 == 1
    mask: Bool[np.ndarray, "h w"] = np.repeat(values, counts).reshape(width, height).T
    return mask


def fill_polygon(mask: Bool[np.ndarray, "h w"], corners: Int64[np.ndarray, "n 2"]) -> None:
    """Set the inside (even-odd rule) and the outline of a polygon.

    Within the mask these are the pixels of OpenCV's ``fillPoly``. An edge that leaves the mask is
    at most one pixel wider than OpenCV's, which moves the ends of such an edge to the border.

    Args:
        mask: changed in place.
        corners: x and y in pixels; what lies outside the mask is cut off.
    """
    height = len(mask)
    start, end = corners, np.roll(corners, -1, axis=0)
    (x0, y0), (x1, y1) = start.T, end.T
    for y in range(max(0, int(y0.min())), min(height, int(y0.max()) + 1)):
        crosses = (y0 <= y) != (y1 <= y)
        rise = (y1 - y0)[crosses]
        xs = np.sort(x0[crosses] + ((y - y0) * (x1 - x0))[crosses] / rise)
        for left, right in zip(np.ceil(xs[::2]), np.floor(xs[1::2]), strict=True):
            mask[y, max(0, int(left)) : max(0, int(right) + 1)] = True
    for line in zip(start.tolist(), end.tolist(), strict=True):
        _draw_line(mask, *sorted(line))


def _draw_line(mask: Bool[np.ndarray, "h w"], start: list[int], end: list[int]) -> None:
    """Draw Bresenham's line from its left end; ties are rounded towards the start."""
    rows, columns = mask.shape
    run, rise = end[0] - start[0], abs(end[1] - start[1])
    down = 1 if end[1] >= start[1] else -1
    long, short = max(run, rise), min(run, rise)
    steps = np.arange(long + 1)
    half = max(1, long)  # a corner may be there twice
    aside = (2 * short * steps + half - 1) // (2 * half)
    x = start[0] + (steps if run >= rise else aside)
    y = start[1] + down * (aside if run >= rise else steps)
    inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    mask[y[inside], x[inside]] = True
