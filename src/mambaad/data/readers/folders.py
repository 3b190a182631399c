"""Listing of folders, for layouts in which a folder's name says what its images are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from mambaad.data.readers.base import Complain
from mambaad.data.walk import entries_of, is_folder, is_open, is_visible, text, walk
from mambaad.errors import DataError

GOOD_NAMES = frozenset(
    [
        *("good", "goods", "ok", "okay", "0_ok", "ok_0", "io", "i.o.", "pass", "passed", "accept"),
        *("normal", "normals", "nominal", "healthy", "clean", "perfect", "undamaged", "intact"),
        *("no_defect", "no_defects", "nodefect", "non_defective", "non-defective", "defect_free"),
        *("defect-free", "defectfree", "not_defective", "no_anomaly", "non_anomalous"),
        *("gut", "gutteil", "gutteile", "in_ordnung", "in ordnung", "fehlerfrei"),
        *("bon", "bons", "conforme", "bueno", "buenos", "buono", "buoni", "bom", "dobre"),
        *(
            "\u5408\u683c",
            "\u5408\u683c\u54c1",
            "\u6b63\u5e38",
            "\u826f\u54c1",
            "\u826f",
            "\u597d",
        ),  # Chinese, Japanese
        *("\uc591\ud488", "\uc815\uc0c1"),  # Korean
    ]
)
"""Names, in lower case, that folders of good parts have in data sets of other layouts."""

MASK_NAMES = frozenset(
    [
        *("ground_truth", "groundtruth", "ground-truth", "gt", "mask", "masks", "label", "labels"),
        *("annotation", "annotations", "segmentation", "segmentations"),
        *("maske", "masken", "masque", "masques", "\u63a9\u7801", "\u6807\u6ce8", "\u6807\u7b7e"),
    ]
)
"""Names, in lower case, of folders of masks."""

MASK_SUFFIXES = (
    *("_mask", "_gt", "_ground_truth", "_groundtruth", "_label", "_labels", "_seg"),
    *("_segmentation", "_annotation", "_defect", "-mask", "-gt", "_m"),
    *("_maske", "_masque", "_\u63a9\u7801", "_\u6807\u6ce8"),
)
"""What masks' names have, in lower case, after those of their images."""


def by_text(paths: Iterable[Path]) -> dict[str, Path]:
    """Return paths by the text of their names (DataError if two have the same)."""
    found: dict[str, Path] = {}
    for path in paths:
        twin = found.setdefault(text(path.name), path)
        if twin is not path:
            raise DataError(
                f"{path} and {twin} have the same name, spelt by other characters; rename one"
            )
    return found


def folders(folder: Path) -> list[Path]:
    """List the folders in a folder by name; none if it does not exist.

    Hidden ones and those of the system's own are left out, and those that may not be looked into:
    :mod:`mambaad.data.unread` names them.
    """
    if not is_open(folder):
        return []
    visible = (folder / entry.name for entry in entries_of(folder) if is_visible(entry.name))
    return [path for path in visible if is_folder(path) and is_open(path)]


def as_spelt(folder: Path) -> Path:
    """Return a folder as the disk has it, in another case or form of Unicode if that is alone.

    Folders of images and of masks are written by different systems.
    """
    if folder.is_dir():
        return folder
    name = text(folder.name).casefold()
    same = [path for path in folders(folder.parent) if text(path.name).casefold() == name]
    return same[0] if len(same) == 1 else folder


def images(folder: Path, complain: Complain, leave_out: Collection[Path] = ()) -> list[Path]:
    """List the images below a folder; two of one name (without suffix) are a problem.

    Folders of masks inside it are left out: they hold no images of parts.
    """
    if not is_folder(folder):
        return []
    found = walk(folder, leave_out=leave_out).images
    return _distinct([p for p in found if not _is_below_masks(p, folder)], folder, complain)


def _is_below_masks(path: Path, folder: Path) -> bool:
    if path.parent == folder:
        return False
    return any(part.lower() in MASK_NAMES for part in path.relative_to(folder).parts[:-1])


def _distinct(found: Iterable[Path], folder: Path, complain: Complain) -> list[Path]:
    by_name: dict[str, Path] = {}
    for path in found:
        twin = by_name.setdefault(name_below(path, folder), path)
        if twin is not path:
            complain(
                f"{twin} and {path.name} are two images of one name, so their masks and results "
                "cannot be told apart; rename one"
            )
    return list(by_name.values())


def name_below(path: Path, folder: Path) -> str:
    """Name an image by its path below a folder, without its suffix, as :func:`text`."""
    below = path.name if path.parent == folder else path.relative_to(folder).as_posix()
    return text(below[: len(below) - len(path.suffix)])


def find_masks(
    folder: Path,
    of: Iterable[Path],
    images_in: Path,
    complain: Complain,
    suffixes: Sequence[str] = ("_mask", ""),
) -> tuple[dict[Path, Path], list[Path]]:
    """Find the masks of images, ``<name>_mask.png`` or ``<name>.png``.

    Masks lie as their images do in sub-folders; or, where their names are enough, in others.

    Args:
        folder: of the masks; it need not exist.
        of: the images.
        images_in: the folder that they are listed from.
        complain: called with two masks of one image.
        suffixes: what a mask's name may have after that of its image, in upper or lower case.

    Returns:
        The mask of each image that has one, and the masks without an image.
    """
    found = _distinct(walk(folder).images, folder, complain) if is_folder(folder) else []
    exact = {name_below(path, images_in): path for path in of}
    by_key: dict[str, list[Path]] = {}
    for name, path in exact.items():
        # Where a name is not found: in another case, then in another sub-folder.
        for key in {name.casefold(), name.rpartition("/")[2].casefold()}:
            by_key.setdefault(key, []).append(path)
    pairs: dict[Path, Path] = {}
    claims: dict[Path, list[Path]] = {}
    lonely: list[Path] = []
    for mask in found:
        bases = _bases(name_below(mask, folder), suffixes)
        if image := next((exact[base] for base in bases if base in exact), None):
            twin = pairs.setdefault(image, mask)
            if twin is not mask:
                complain(f"{mask} and {twin.name} are masks of the same image; remove one")
        elif image := _only(by_key, bases):
            claims.setdefault(image, []).append(mask)
        else:
            lonely.append(mask)
    for image, several in claims.items():
        if image not in pairs and len(several) == 1:
            pairs[image] = several[0]
        else:
            lonely += several
    return pairs, sorted(lonely)


def masks_beside(
    paths: Sequence[Path], folder: Path, suffixes: Sequence[str], complain: Complain
) -> dict[Path, Path]:
    """Find the masks among the images below a folder, and the image that each is of.

    A file is a mask if an image in its own folder is called as it is, without one of the endings.

    Args:
        paths: images and masks.
        folder: that they are listed from.
        suffixes: the endings, in upper or lower case; an empty one is none.
        complain: called with two masks of one image.
    """
    folded = {name_below(path, folder).casefold(): path for path in paths}
    exact = {name_below(path, folder): path for path in paths}
    found: dict[Path, Path] = {}
    first: dict[Path, Path] = {}
    for path in paths:
        for base in _bases(name_below(path, folder), [suffix for suffix in suffixes if suffix]):
            image = exact.get(base) or folded.get(base.casefold())
            if image is None:
                continue
            found[path] = image
            if (twin := first.setdefault(image, path)) is not path:
                complain(f"{path} and {twin.name} are masks of the same image; remove one")
            break
    return found


def complain_of_lonely(masks: Iterable[Path], images_in: Path, complain: Complain) -> None:
    """Complain of masks without an image in a folder."""
    for mask in masks:
        complain(f"{mask} is a mask without an image in {images_in}; remove it, or add its image")


def _bases(name: str, suffixes: Sequence[str]) -> list[str]:
    """Return what the names of a mask's image may be."""
    return [
        name[: len(name) - len(suffix)]
        for suffix in suffixes
        if name.casefold().endswith(suffix.casefold())
    ]


def _only(by_key: Mapping[str, Sequence[Path]], bases: Iterable[str]) -> Path | None:
    """Return the one image that has such a name in another case or sub-folder."""
    for base in bases:
        for key in (base.casefold(), base.rpartition("/")[2].casefold()):
            same = by_key.get(key, ())
            if len(same) == 1:
                return same[0]
    return None
