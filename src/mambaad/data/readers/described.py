"""Data sets that a description tells how to read: where their images and masks lie.

The description of MVTec AD's layout, for instance::

    train: "{class}/train/good"
    test: "{class}/test/{type}"
    masks: "{class}/ground_truth/{type}"

Patterns are folders below the data set's. ``{class}`` and ``{type}`` stand for any folder name, or
for a part of one, and so does ``*``, which is neither; images lie in the folders that match, and in
their sub-folders. In ``masks`` they stand for the image's own class and type, ``{folder}`` for its
folder (``{folder}/../masks`` is one beside it), and a last ``{name}``
for its name without suffix: all masks in that folder are joined. In a folder of images, which is
``{folder}`` alone, a file is a mask if there is an image that it is called as, with one of
``mask_suffixes`` after its name. Without ``{class}`` all images are of one class, called as the
data set's folder; without ``{type}`` the type is the folder's name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mambaad.data.mask_files import read_mask
from mambaad.data.readers.base import Complain, Layout, Parts, Split
from mambaad.data.readers.folders import (
    find_masks,
    images,
    masks_beside,
)
from mambaad.data.readers.patterns import Place, expression, find_places, mask_place, why_none
from mambaad.data.walk import is_folder, walk
from mambaad.documents import shortened
from mambaad.errors import DataError
from mambaad.types import MAX_PIXELS, ProductClass, Sample

_MOST_PIXELS = 10 * MAX_PIXELS


@dataclass(frozen=True)
class Description:
    """Where the images and masks of a data set are, as patterns (see this module).

    ``train``, ``test``: folders of images; of training images the good ones are used. ``masks``:
    folders of masks; of several the first that has the image's mask counts. ``good``: the types
    that are good parts, in upper or lower case. ``mask_suffixes``: what a mask's name may have
    after its image's. ``defective_if``: what makes a part defective: the ``type`` of its folder;
    that it has a ``mask``; or that its mask has a ``marked`` pixel. ``test_share``: the share of
    the good parts in ``train`` that are tested on instead, spread evenly over their names.
    ``test_defective``: whether the defective ones among them are tested on too. ``all_must_fit``:
    whether a pattern that fits no image or mask is a problem, when reading for training.
    ``all_must_fit``: whether a pattern that fits no image or mask is a problem.
    """

    train: tuple[str, ...]
    test: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    good: tuple[str, ...] = ("good",)
    mask_suffixes: tuple[str, ...] = ("_mask", "")
    defective_if: Literal["type", "mask", "marked"] = "type"
    test_share: float = 0.0
    test_defective: bool = False
    all_must_fit: bool = False

    def class_names(self, root: Path, split: Split) -> list[str]:
        """Name the classes that have folders of images (DataError if there are none)."""
        if not root.is_dir():
            raise DataError(f"{root} is not a folder; give the folder of the data set")
        patterns = (*(self.train if self._reads_train(split) else ()), *self.test)
        found = {place.name for pattern in patterns for place in self.places(root, pattern)}
        if not found:
            wanted = "test images"
            if patterns:
                wanted = (
                    f"images in {root}/{shortened(patterns[0])} ({why_none(root, patterns[0])})"
                )
            raise DataError(f"{root} has no classes; expected {wanted}")
        return sorted(found)

    def read_classes(
        self, root: Path, names: Sequence[str], split: Split, complain: Complain
    ) -> list[ProductClass]:
        """Read some classes; see :class:`mambaad.data.readers.base.Layout`."""
        read = _Read(self, root, complain)
        read.add(names, with_train=self._reads_train(split))
        if self.all_must_fit and split == "train":
            self._check_fit(read, names)
        return [self._class(root, n, read.train[n], read.test[n], split, complain) for n in names]

    def places(self, root: Path, pattern: str) -> list[Place]:
        """Find the folders of images that fit a pattern: not those of masks, which may fit too."""
        return [
            place
            for place in find_places(root, pattern)
            if not any(
                shared and _is_in(place.folder, shared) for _, shared in self.masks_of(root, place)
            )
        ]

    def masks_of(self, root: Path, place: Place) -> list[tuple[Path, Path | None]]:
        """Name the folders of a place's masks, by pattern; see :func:`mask_place`."""
        return [mask_place(root, place, pattern) for pattern in self.masks]

    def is_good(self, place: Place) -> bool:
        """Whether the images of a folder are good parts, by its name."""
        return place.type.lower() in {name.lower() for name in self.good}

    def _reads_train(self, split: Split) -> bool:
        return split == "train" or self.test_share > 0 or self.test_defective

    def _class(
        self,
        root: Path,
        name: str,
        train: Sequence[Sample],
        test: Sequence[Sample],
        split: Split,
        complain: Complain,
    ) -> ProductClass:
        left: list[Sample] = []
        held: list[Sample] = []
        for i, sample in enumerate(s for s in train if not s.is_defective):
            is_held = int((i + 1) * self.test_share) > int(i * self.test_share)
            (held if is_held else left).append(sample)
        if self.test_defective:
            held += [sample for sample in train if sample.is_defective]
        if split == "train" and len(left) < 2:
            complain(
                f"{root} has {len(left)} images of good parts to train class {name} on, expected "
                f"at least 2 in {shortened(' or '.join(self.train))}; add some, or leave the class "
                "out with --classes"
            )
        return ProductClass(name, tuple(left) if split == "train" else (), (*test, *held))

    def _check_fit(self, read: _Read, names: Sequence[str]) -> None:
        """Complain of patterns that fit no image or mask of these classes, nor a mask of others."""
        root, complain = read.root, read.complain
        mend = "correct the layout, or leave the pattern out"
        for pattern in (*self.train, *self.test):
            places = self.places(root, pattern)
            of_names = [place.folder for place in places if place.name in names]
            if not places:
                why = why_none(root, pattern)
                complain(f"{root} has nothing at '{shortened(pattern)}' ({why}); {mend}")
            elif of_names and read.folders.isdisjoint(of_names):
                first = of_names[0]
                complain(f"{first}, which fits '{shortened(pattern)}', has no images; {mend}")
        if not read.fitting.issuperset(self.masks):
            others = _Read(self, root, lambda problem: None)
            others.add([n for n in self.class_names(root, "train") if n not in names])
            read.fitting |= others.fitting
        for pattern in self.masks:
            if pattern not in read.fitting:
                folders = [f for f, of in read.sought.items() if of == pattern] or [root]
                there = next((folder for folder in folders if folder.is_dir()), None)
                ends = shortened(" or ".join(f"'{suffix}'" for suffix in self.mask_suffixes))
                why = f"there is no folder {folders[0]}"
                if there:
                    why = f"no file in {there} is called as an image, with {ends} after its name"
                complain(f"{root} has no mask at '{shortened(pattern)}' ({why}); {mend}")


@dataclass
class _Read:
    """What is read of some classes.

    ``train``, ``test``: by class. ``folders``: those in which there were images. ``sought``: of
    masks, with their pattern; ``fitting``: the patterns by which an image has a mask.
    ``image_of``: each mask's defective image. ``paired``: masks of any image; ``lonely``: those
    without one in a folder of defective ones, with that folder.
    """

    by: Description
    root: Path
    complain: Complain
    train: dict[str, list[Sample]] = field(default_factory=dict)
    test: dict[str, list[Sample]] = field(default_factory=dict)
    folders: set[Path] = field(default_factory=set)
    sought: dict[Path, str] = field(default_factory=dict)
    fitting: set[str] = field(default_factory=set)
    image_of: dict[Path, Path] = field(default_factory=dict)
    paired: set[Path] = field(default_factory=set)
    lonely: dict[Path, Path] = field(default_factory=dict)

    def add(self, names: Sequence[str], *, with_train: bool = True) -> None:
        """Read classes."""
        by, root = self.by, self.root
        self.train |= {name: [] for name in names}
        self.test |= {name: [] for name in names}
        # Two patterns may fit one folder.
        trained = {p.folder: p for pattern in by.train for p in by.places(root, pattern)}
        tested = {p.folder: p for pattern in by.test for p in by.places(root, pattern)}
        for place in trained.values() if with_train else ():
            if place.name in names:
                is_good = "type" not in dict(place.fields) or by.is_good(place)
                self.train[place.name] += self._images(place, is_good)
        for place in tested.values():
            if place.name in names and place.folder not in trained:
                self.test[place.name] += self._images(place, by.is_good(place))
        for mask, folder in sorted(self.lonely.items()):
            if mask not in self.paired:  # several folders of images may share one of masks
                self.complain(
                    f"{mask} is a mask without an image in {folder}; remove it, or add its image"
                )

    def _images(self, place: Place, is_good: bool) -> Iterator[Sample]:
        """Read the images of a folder, with their masks."""
        by, complain = self.by, self.complain
        masks = by.masks_of(self.root, place)
        inside = {folder for folder, _ in masks if place.folder in folder.parents}
        paths = images(place.folder, complain, inside)
        beside: dict[Path, Path] = {}
        if any(folder == place.folder for folder, _ in masks):
            beside = masks_beside(paths, place.folder, by.mask_suffixes, complain)
            paths = [path for path in paths if path not in beside]
        found: dict[Path, tuple[Path, ...]] = {}
        for pattern, (folder, _) in zip(by.masks, masks, strict=True):
            self.sought.setdefault(folder, pattern)
            pairs: dict[Path, tuple[Path, ...]] = {i: (mask,) for mask, i in beside.items()}
            if folder != place.folder or pattern.endswith("/{name}"):
                pairs = self._pairs(folder, pattern, paths, place.folder, is_good)
            if pairs:
                self.fitting.add(pattern)
            found = {**pairs, **found}
        for path in paths:
            self.folders.add(place.folder)
            of_image = found.get(path, ())
            if by.defective_if == "type":
                defective = not is_good
                if masks and defective and not of_image and _exist(masks):
                    complain(f"{path} has no mask; expected one in {masks[0][0]}")
            else:
                marked = by.defective_if == "marked"
                if marked and not of_image:
                    complain(f"{path} has no mask, so it cannot be told whether it is defective")
                defective = any(map(_is_marked if marked else bool, of_image))
            kind = place.shown_type if by.defective_if == "type" else "defect"
            of_image = of_image if defective else ()
            for mask in of_image:
                if (twin := self.image_of.setdefault(mask, path)) is not path:
                    complain(
                        f"{mask} would be the mask of {twin} and of {path}; put the masks of each "
                        "folder in one of their own"
                    )
            yield Sample(
                path,
                place.name,
                kind if defective else "good",
                next(iter(of_image), None),
                more_masks=of_image[1:],
            )

    def _pairs(
        self,
        folder: Path,
        pattern: str,
        paths: Sequence[Path],
        images_in: Path,
        is_good: bool,
    ) -> dict[Path, tuple[Path, ...]]:
        """Find the masks of images in a folder of masks."""
        if pattern.endswith("/{name}"):
            joined = _joined(folder, paths, images_in)
            return {path: masks for path, masks in joined.items() if masks}
        pairs, lonely = find_masks(folder, paths, images_in, self.complain, self.by.mask_suffixes)
        if not is_good:
            self.lonely |= dict.fromkeys(lonely, images_in)
        self.paired.update(pairs.values())
        return {path: (mask,) for path, mask in pairs.items()}


def _joined(folder: Path, paths: Sequence[Path], images_in: Path) -> dict[Path, tuple[Path, ...]]:
    """Find the folders of masks that are called as images.

    They lie as the images do in sub-folders; or, where its name is only one image's, without.
    """
    count = Counter(path.stem for path in paths)
    found = {}
    for path in paths:
        below = folder / path.parent.relative_to(images_in) / path.stem
        place = below if is_folder(below) or count[path.stem] > 1 else folder / path.stem
        if is_folder(place):
            found[path] = tuple(walk(place).images)
    return found


def layout_of(
    name: str,
    title: str,
    description: Description,
    recognises: Callable[[Path], bool],
    *,
    published_classes: tuple[str, ...] = (),
    aside: Callable[[Parts], bool] = lambda parts: False,
) -> Layout:
    """Make a layout of a description."""
    marks = tuple(suffix.lower() for suffix in description.mask_suffixes if suffix)
    of_masks = [expression(pattern) for pattern in description.masks if pattern != "{folder}"]

    def belongs(parts: Parts) -> bool:
        # Masks of good parts, which are not used.
        folder = "/".join(parts[:-1])
        is_mask = bool(marks) and Path(parts[-1]).stem.lower().endswith(marks)
        return (is_mask and any(re.fullmatch(e, folder) for e in of_masks)) or aside(parts)

    return Layout(
        name,
        title,
        recognises,
        description.class_names,
        description.read_classes,
        published_classes,
        form=", ".join(map(shortened, (*description.train, *description.test, *description.masks))),
        aside=belongs,
        beside=marks if "{folder}" in description.masks else (),
    )


def _is_in(folder: Path, other: Path) -> bool:
    return folder == other or other in folder.parents


def _exist(masks: Sequence[tuple[Path, Path | None]]) -> bool:
    """Whether the class has masks at all."""
    return any(is_folder(shared or folder) for folder, shared in masks)


def _is_marked(mask: Path) -> bool:
    """Whether a mask has a pixel of a defect. One that cannot be read counts: it is found later.

    How many pixels may be read is not known yet; masks of line-scan images are large.
    """
    try:
        return bool(read_mask(mask, _MOST_PIXELS).any())
    except DataError:
        return True
