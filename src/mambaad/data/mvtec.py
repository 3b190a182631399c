"""The MVTec AD layout: ``<class>/{train/good, test/<type>, ground_truth/<type>/<name>_mask.png}``.

Good test parts lie in ``test/good``. ``test`` and ``ground_truth`` may be absent: a class can be
for training only, or have image-level labels only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mambaad.data.dataset import ProductClass
from mambaad.data.images import is_image
from mambaad.errors import DataError
from mambaad.types import Sample


def read_mvtec(
    root: Path, classes: Sequence[str] | None = None, *, split: Literal["train", "test"] = "train"
) -> list[ProductClass]:
    """List the images of a data set, by class in alphabetical order; nothing is decoded.

    Args:
        root: the folder with one folder a class.
        classes: the classes wanted; all without it.
        split: what the images are for. A class needs at least two good parts to train on; for
            testing, those without test images are left out, and nothing of ``train`` is read.

    Raises:
        DataError: no or unknown classes, a class of fewer than two training images, two images of
            one name, or images and masks that do not belong together; names the path.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder that has one folder a class")
    if (root / split).is_dir():
        raise DataError(
            f"{root} is itself one class (it has {split}/); give the folder above it: "
            f"{root.resolve().parent}"
        )
    found = [p.name for p in _folders(root) if (p / split).is_dir() or _lacks_train(p, split)]
    if not found:
        raise DataError(
            f"{root} has no classes; expected one folder a class, with its images in "
            f"{root}/<class>/{'train/good' if split == 'train' else 'test/<type>'}"
        )
    unknown = sorted(set(classes or ()) - set(found))
    if unknown:
        raise DataError(
            f"{root} has no class {', '.join(unknown)}; choose from {', '.join(found)} (--classes)"
        )
    wanted = [root / name for name in found if classes is None or name in classes]
    if split == "test":
        return [ProductClass(folder.name, (), _test_samples(folder)) for folder in wanted]
    return [
        ProductClass(folder.name, _train_samples(folder), _test_samples(folder))
        for folder in wanted
    ]


def _train_samples(folder: Path) -> tuple[Sample, ...]:
    train = tuple(Sample(path, folder.name) for path in _images(folder / "train" / "good"))
    if len(train) < 2:
        raise DataError(
            f"{folder / 'train' / 'good'} has {len(train)} images, expected at least 2 of good "
            "parts; add some, or leave the class out with --classes"
        )
    return train


def _test_samples(folder: Path) -> tuple[Sample, ...]:
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
            # Some sets have (empty) masks for good parts too: a good part has no defect to outline.
            good = type_folder.name == "good"
            test.append(Sample(path, folder.name, type_folder.name, None if good else mask))
        if masks:
            raise DataError(
                f"{next(iter(masks.values()))} is a mask without an image in {type_folder}; "
                "remove it, or add its image"
            )
    for mask_folder in _folders(folder / "ground_truth"):
        if _images(mask_folder) and not (folder / "test" / mask_folder.name).is_dir():
            raise DataError(
                f"{mask_folder} has masks without images; add the images in "
                f"{folder / 'test' / mask_folder.name}, or remove it"
            )
    return tuple(test)


def _lacks_train(folder: Path, split: str) -> bool:
    """Whether a class to train on has no ``train``: to be reported, not passed over in silence.

    Folders that are neither empty nor in this layout are none of our business.
    """
    content = {path.name for path in folder.iterdir() if _visible(path)}
    return split == "train" and (not content or not content.isdisjoint(("test", "ground_truth")))


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
    masks: dict[str, Path] = {}
    for path in _images(folder):
        twin = masks.setdefault(path.stem.removesuffix("_mask"), path)
        if twin is not path:
            raise DataError(f"{path} and {twin.name} are masks of the same image; remove one")
    return masks
