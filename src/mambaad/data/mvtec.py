"""The MVTec AD layout: ``<class>/{train/good, test/<type>, ground_truth/<type>/<name>_mask.png}``.

Good test parts lie in ``test/good``. ``test`` and ``ground_truth`` may be absent: a class can be
for training only, or have image-level labels only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mambaad.data.dataset import ProductClass
from mambaad.data.images import is_image
from mambaad.errors import DataError
from mambaad.types import Sample


def read_mvtec(root: Path, classes: Sequence[str] | None = None) -> list[ProductClass]:
    """List the images of a data set, by class in alphabetical order; nothing is decoded.

    Args:
        root: the folder with one folder a class.
        classes: the classes wanted; all without it.

    Raises:
        DataError: names the path, what is wrong with it and what to do.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder that has one folder a class")
    if (root / "train").is_dir():
        raise DataError(
            f"{root} is itself one class (it has train/); give the folder above it: {root.parent}"
        )
    found = sorted(p.name for p in root.iterdir() if (p / "train").is_dir() and _visible(p))
    if not found:
        raise DataError(
            f"{root} has no classes; expected one folder a class with its good parts in "
            f"{root}/<class>/train/good"
        )
    unknown = sorted(set(classes or ()) - set(found))
    if unknown:
        raise DataError(
            f"{root} has no class {', '.join(unknown)}; choose from {', '.join(found)} (--classes)"
        )
    return [_read_class(root / name) for name in found if classes is None or name in classes]


def _read_class(folder: Path) -> ProductClass:
    name = folder.name
    train = tuple(Sample(path, name) for path in _images(folder / "train" / "good"))
    if len(train) < 2:
        raise DataError(
            f"{folder / 'train' / 'good'} has {len(train)} images, expected at least 2 of good "
            "parts; add some, or leave the class out with --classes"
        )
    test: list[Sample] = []
    masked = (folder / "ground_truth").is_dir()
    for type_folder in _folders(folder / "test"):
        masks = _masks(folder / "ground_truth" / type_folder.name)
        for path in _images(type_folder):
            mask = masks.pop(path.stem, None)
            if masked and mask is None and type_folder.name != "good":
                raise DataError(
                    f"{path} has no mask; expected "
                    f"{folder / 'ground_truth' / type_folder.name / path.stem}_mask.png (a class "
                    "has masks for all its defective images, or no ground_truth folder)"
                )
            test.append(Sample(path, name, type_folder.name, mask))
        if masks:
            raise DataError(
                f"{next(iter(masks.values()))} is a mask without an image in {type_folder}; "
                "remove it, or add its image"
            )
    orphans = [f for f in _folders(folder / "ground_truth") if _images(f) and not (
        folder / "test" / f.name).is_dir()]
    if orphans:
        raise DataError(
            f"{orphans[0]} has masks without images; expected them in {folder / 'test'}"
            f"/{orphans[0].name}"
        )
    return ProductClass(name, train, tuple(test))


def _visible(path: Path) -> bool:
    return not path.name.startswith(".")


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and _visible(path))


def _images(folder: Path) -> list[Path]:
    """The images of a folder by name, each name (without its suffix) once."""
    if not folder.is_dir():
        return []
    paths = sorted(path for path in folder.iterdir() if is_image(path) and path.is_file())
    by_stem: dict[str, Path] = {}
    for path in paths:
        twin = by_stem.setdefault(path.stem, path)
        if twin is not path:
            raise DataError(
                f"{twin} and {path.name} are two images of one name, so their masks and results "
                "cannot be told apart; rename one"
            )
    return paths


def _masks(folder: Path) -> dict[str, Path]:
    """Masks by the name of their image: ``<name>_mask.png``, or ``<name>.png`` as some sets do."""
    return {path.stem.removesuffix("_mask"): path for path in _images(folder)}
