"""Data sets that a description tells how to read: where their images and masks lie.

The description of MVTec AD's layout, for instance::

    train: "{class}/train/good"
    test: "{class}/test/{type}"
    masks: "{class}/ground_truth/{type}"

Patterns are folders below the data set's. ``{class}`` and ``{type}`` stand for any folder name, or
for a part of one; images lie in the folders that match, and in their sub-folders. In ``masks``
they stand for the image's own class and type, ``{folder}`` for its folder, and a last ``{name}``
for its name without suffix: all masks in that folder are joined. Without ``{class}`` all images are
of one class, called as the data set's folder; without ``{type}`` the type is the folder's name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mambaad.data.mask_files import read_mask
from mambaad.data.readers.base import Complain, Layout, Parts, Split
from mambaad.data.readers.folders import complain_of_lonely, find_masks, folders, images
from mambaad.data.walk import is_folder, text, walk
from mambaad.errors import DataError
from mambaad.types import MAX_PIXELS, ProductClass, Sample

_FIELD = re.compile(r"\{(class|type)\}")
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
    ``test_defective``: whether the defective ones among them are tested on too.
    """

    train: tuple[str, ...]
    test: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    good: tuple[str, ...] = ("good",)
    mask_suffixes: tuple[str, ...] = ("_mask", "")
    defective_if: Literal["type", "mask", "marked"] = "type"
    test_share: float = 0.0
    test_defective: bool = False

    def class_names(self, root: Path, split: Split) -> list[str]:
        """Name the classes that have folders of images (DataError if there are none)."""
        if not root.is_dir():
            raise DataError(f"{root} is not a folder; give the folder of the data set")
        patterns = (*(self.train if self._reads_train(split) else ()), *self.test)
        found = {place.name for pattern in patterns for place in _places(root, pattern)}
        if not found:
            wanted = f"images in {root}/{patterns[0]}" if patterns else "test images"
            raise DataError(f"{root} has no classes; expected {wanted}")
        return sorted(found)

    def read_classes(
        self, root: Path, names: Sequence[str], split: Split, complain: Complain
    ) -> list[ProductClass]:
        """Read some classes; see :class:`mambaad.data.readers.base.Layout`."""
        train: dict[str, list[Sample]] = {name: [] for name in names}
        test: dict[str, list[Sample]] = {name: [] for name in names}
        # Two patterns may fit one folder.
        trained = {p.folder: p for pattern in self.train for p in _places(root, pattern)}
        tested = {p.folder: p for pattern in self.test for p in _places(root, pattern)}
        for place in trained.values() if self._reads_train(split) else ():
            if place.name in train:
                is_good = "type" not in dict(place.fields) or self._is_good(place)
                train[place.name] += self._read(root, place, is_good, complain)
        for place in tested.values():
            if place.name in test and place.folder not in trained:
                test[place.name] += self._read(root, place, self._is_good(place), complain)
        return [self._class(root, n, train[n], test[n], split, complain) for n in names]

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
                f"at least 2 in {' or '.join(self.train)}; add some, or leave the class out with "
                "--classes"
            )
        return ProductClass(name, tuple(left) if split == "train" else (), (*test, *held))

    def _is_good(self, place: _Place) -> bool:
        return place.type.lower() in {name.lower() for name in self.good}

    def _read(
        self, root: Path, place: _Place, is_good: bool, complain: Complain
    ) -> Iterator[Sample]:
        """Read the images of a folder, with their masks."""
        masks = [_mask_place(root, place, pattern) for pattern in self.masks]
        if any(shared is not None and _is_in(place.folder, shared) for _, shared in masks):
            return  # a folder of masks, whose name fits the pattern of images too
        inside = {folder for folder, _ in masks if place.folder in folder.parents}
        paths = images(place.folder, complain, inside)
        if any(folder == place.folder for folder, _ in masks):
            ends = tuple(suffix.lower() for suffix in self.mask_suffixes if suffix)
            paths = [path for path in paths if not path.stem.lower().endswith(ends)]
        found: dict[Path, tuple[Path, ...]] = {}
        for pattern, (folder, _) in zip(self.masks, masks, strict=True):
            joined = pattern.endswith("/{name}")
            pairs = self._pairs(folder, joined, paths, place.folder, is_good, complain)
            found = {**pairs, **found}
        for path in paths:
            of_image = found.get(path, ())
            if self.defective_if == "type":
                defective = not is_good
                if masks and defective and not of_image and _exist(masks):
                    complain(f"{path} has no mask; expected one in {masks[0][0]}")
            else:
                marked = self.defective_if == "marked"
                if marked and not of_image:
                    complain(f"{path} has no mask, so it cannot be told whether it is defective")
                defective = any(map(_is_marked if marked else bool, of_image))
            kind = place.shown_type if self.defective_if == "type" else "defect"
            of_image = of_image if defective else ()
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
        joined: bool,
        paths: Sequence[Path],
        images_in: Path,
        is_good: bool,
        complain: Complain,
    ) -> dict[Path, tuple[Path, ...]]:
        if joined:
            return _joined(folder, paths, images_in)
        suffixes = self.mask_suffixes
        if folder == images_in:
            suffixes = tuple(suffix for suffix in suffixes if suffix)
            ends = tuple(suffix.lower() for suffix in suffixes)
            pairs, lonely = find_masks(folder, paths, images_in, complain, suffixes)
            lonely = [mask for mask in lonely if mask.stem.lower().endswith(ends)]
        else:
            pairs, lonely = find_masks(folder, paths, images_in, complain, suffixes)
        complain_of_lonely(() if is_good else lonely, images_in, complain)
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

    def belongs(parts: Parts) -> bool:
        # Masks of good parts, which are not used.
        is_mask = bool(marks) and Path(parts[-1]).stem.lower().endswith(marks)
        return is_mask or aside(parts)

    return Layout(
        name,
        title,
        recognises,
        description.class_names,
        description.read_classes,
        published_classes,
        form=", ".join((*description.train, *description.test, *description.masks)),
        aside=belongs,
    )


@dataclass(frozen=True)
class _Place:
    """A folder of images, and what its place says of their class and type."""

    folder: Path
    fields: tuple[tuple[str, str], ...]
    name: str

    @property
    def type(self) -> str:
        return dict(self.fields).get("type", self.folder.name)

    @property
    def shown_type(self) -> str:
        """The type as text, and never the name that good parts have."""
        return "defect" if self.type == "good" else text(self.type)


def _places(root: Path, pattern: str) -> list[_Place]:
    """Find the folders that fit a pattern, by name."""
    found: list[tuple[Path, dict[str, str]]] = [(root, {})]
    for segment in _segments(pattern):
        if not _FIELD.search(segment):
            found = [(p / segment, f) for p, f in found if is_folder(p / segment)]
            continue
        found = [
            (folder, {**fields, **match.groupdict()})
            for path, fields in found
            for folder in folders(path)
            if (match := re.fullmatch(_expression(segment, fields), folder.name, re.DOTALL))
        ]
    alone = text(root.resolve().name) or "parts"
    return [
        _Place(folder, tuple(fields.items()), text(fields["class"]) if "class" in fields else alone)
        for folder, fields in found
    ]


def _segments(pattern: str) -> list[str]:
    return [segment for segment in pattern.split("/") if segment not in ("", ".")]


def _expression(segment: str, known: dict[str, str]) -> str:
    parts = _FIELD.split(segment)  # text and fields in turn
    return "".join(
        re.escape(part) if i % 2 == 0 else re.escape(known[part]) if part in known
        else f"(?P<{part}>.+)"
        for i, part in enumerate(parts)
    )  # fmt: skip


def _mask_place(root: Path, place: _Place, pattern: str) -> tuple[Path, Path | None]:
    """Return a place's folder of masks, and the folder of all masks if that has its own name."""
    fields = {**dict(place.fields), "type": place.type}
    folder, shared = (place.folder if "{folder}" in pattern else root), None
    varies = False
    for segment in _segments(pattern.replace("{folder}", "")):
        if segment == "{name}":
            break
        folder /= _FIELD.sub(lambda found: fields.get(found.group(1), ""), segment)
        varies = varies or "{type}" in segment
        if not varies and not _FIELD.search(segment):
            shared = folder
    return folder, shared


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
