"""A check that every image can be decoded, before any work starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from mambaad.data.decoding import Decoded
from mambaad.data.depth import depth_notes, find_depth, with_reading
from mambaad.data.exclusion import leave_out, without
from mambaad.data.images import AUTO, check_pixels, decode_sample, depth_evidence, to_rgb
from mambaad.data.mask_files import MaskFile, read_mask_file
from mambaad.data.parts import Parts
from mambaad.data.read_ahead import read_ahead
from mambaad.data.readers.base import Split
from mambaad.data.unread import list_data
from mambaad.errors import ConfigError, DataError
from mambaad.progress import ProgressBar, say, warn
from mambaad.types import ProductClass, Reading, Sample

_LAST_UPRIGHT = 4
"""Orientations (EXIF) beyond it lay an image on its side, so that height and width change."""


class MaskSizeError(DataError):
    """A mask of another size than its image."""


class Joined(NamedTuple):
    """The mask of an image, joined of all its files.

    ``marked``: True where there is a defect. ``turned_apart``: whether a file was turned otherwise
    than the image, by the orientation that each of them has, and their sizes do not tell that this
    is right. ``empty``: the first file that marks nothing.
    """

    marked: Bool[np.ndarray, "h w"]
    turned_apart: bool = False
    empty: Path | None = None


def read_sample(sample: Sample) -> tuple[UInt8[np.ndarray, "h w 3"], Joined | None]:
    """Read an image as 8-bit RGB, and its mask if it has one.

    Raises:
        DataError: one of them cannot be read.
        MaskSizeError: the mask is of another size than the image.
    """
    decoded = decode_sample(sample)
    return to_rgb(decoded, sample.path, sample.reading), join_masks(sample, decoded)


def list_to_check(
    root: Path | Parts,
    classes: Sequence[str] | None = None,
    *,
    split: Split = "train",
    layout: str | None = None,
    exclude: Collection[str] | None = None,
    may_be_gone: bool = False,
    skip_unreadable: bool = False,
    reading: Reading = AUTO,
) -> list[ProductClass]:
    """List the images of a data set in any known layout, for :func:`check_with_progress`.

    Args:
        root, classes, split, layout: see :func:`mambaad.data.unread.list_data`; or the data set of
            a program, which has no layout.
        exclude: names of training images to leave out, which are not decoded.
        may_be_gone: whether those names need not be there.
        skip_unreadable: leave unreadable images and folders out instead of raising.
        reading: how pixels are read; a bit depth that is not given is decided by all images.

    Raises:
        ConfigError, DataError: see :func:`mambaad.data.unread.list_data` and
            :func:`mambaad.data.exclusion.leave_out`; or :meth:`mambaad.data.parts.Parts.classes`.
    """
    if isinstance(root, Parts):
        for name, given in (("layout", layout), ("exclude", exclude)):
            if given:
                raise ConfigError(f"{name} is for data sets in folders; omit it")
        return root.classes(classes, split=split, reading=reading, skip_unreadable=skip_unreadable)
    root = Path(root)
    found = list_data(root, classes, split=split, layout=layout, skip_unreadable=skip_unreadable)
    listed = (without if may_be_gone else leave_out)(found, root, exclude or ())
    return with_reading(listed, reading)


def read_checked(
    root: Path | Parts,
    classes: Sequence[str] | None = None,
    *,
    split: Split = "train",
    layout: str | None = None,
    exclude: Collection[str] | None = None,
    skip_unreadable: bool = False,
    reading: Reading = AUTO,
) -> list[ProductClass]:
    """List the images of a data set, after decoding each of them once.

    Raises:
        ConfigError, DataError: see :func:`list_to_check` and :func:`check_images`.
    """
    listed = list_to_check(
        root,
        classes,
        split=split,
        layout=layout,
        exclude=exclude,
        skip_unreadable=skip_unreadable,
        reading=reading,
    )
    return check_with_progress(listed, skip_unreadable=skip_unreadable)


def check_with_progress(
    classes: Sequence[ProductClass], *, skip_unreadable: bool = False
) -> list[ProductClass]:
    """Run :func:`check_images` under a progress bar, and name each image that it leaves out.

    For classes listed already; :func:`read_checked` lists them too.

    Raises:
        DataError: see :func:`check_images`.
    """
    with ProgressBar("reading images") as bar:
        readable, left_out = check_images(
            classes, skip_unreadable=skip_unreadable, progress=bar.update, tell=say
        )
    for problem in left_out:
        warn(f"left out: {problem}")
    if left_out:
        warn(f"{len(left_out)} unreadable images left out")
    return readable


def check_images(
    classes: Sequence[ProductClass],
    *,
    skip_unreadable: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda note: None,
) -> tuple[list[ProductClass], list[str]]:
    """Decode every image and mask once, and decide the bit depth where it is not given.

    Args:
        classes: the classes to check; their order is kept.
        skip_unreadable: leave unreadable images out instead of raising.
        progress: called with the number of images done and their total.
        tell: called with lines on the bit depth, if it is not what the files' type says.

    Returns:
        The classes with their readable images, whose ``reading`` has the bit depth, and a line for
        each image left out.

    Raises:
        DataError: an unreadable image or mask (the first, and how many more there are), a mask of
            another size than its image, a class left with fewer than two training images, or a bit
            depth that the values do not decide.
    """
    samples = [sample for c in classes for sample in (*c.train, *c.test)]
    problems: dict[Sample, str] = {}
    highest: dict[str, list[int]] = {}
    threads = os.cpu_count() or 1
    found = read_ahead(_examine, samples, workers=threads, ahead=2 * threads)
    for done, (sample, (problem, top)) in enumerate(zip(samples, found, strict=True), start=1):
        if problem:
            problems[sample] = problem
        if top is not None:
            highest.setdefault(sample.class_name, []).append(top)
        progress(done, len(samples))
    if problems and not skip_unreadable:
        first, *others = problems.values()
        more = f" (and {len(others)} more like it)" if others else ""
        raise DataError(f"{first}{more}; use --skip-unreadable to leave such images out")
    kept = [
        replace(
            c,
            train=tuple(s for s in c.train if s not in problems),
            test=tuple(s for s in c.test if s not in problems),
        )
        for c in classes
    ]
    for before, c in zip(classes, kept, strict=True):
        if before.train and len(c.train) < 2:
            raise DataError(
                f"class {c.name} has {len(c.train)} readable training images in "
                f"{before.train[0].path.parent}, expected at least 2; repair them, or train "
                "without the class (mambaad train --classes)"
            )
    if highest:
        reading = replace(samples[0].reading, bit_depth=find_depth(highest))
        kept = with_reading(kept, reading)
        for note in depth_notes(highest, reading.bit_depth or 16):
            tell(note)
    return kept, list(problems.values())


def join_masks(sample: Sample, image: Decoded) -> Joined | None:
    """Read the mask of an image, joined of all its files; None if it has none.

    Each file is turned upright as its own orientation says, like the image.

    Args:
        sample: the image's entry.
        image: as it was decoded.

    Raises:
        DataError: a mask that cannot be read.
        MaskSizeError: a mask of another size than the image.
    """
    if sample.mask_path is None:
        return None
    if sample.held is not None:
        marked = sample.held.mask(sample.reading)
        if marked.shape != image.size:
            found = MaskFile(marked, 1.0, 1)
            raise MaskSizeError(_size_problem(sample.mask_path, found, sample.path, image))
        return Joined(marked, empty=None if marked.any() else sample.mask_path)
    joined: Bool[np.ndarray, "h w"] | None = None
    apart, empty = False, None
    for path in (sample.mask_path, *sample.more_masks):
        mask = read_mask_file(path, sample.reading.max_pixels)
        if mask.marked.shape != image.size:
            raise MaskSizeError(_size_problem(path, mask, sample.path, image))
        joined = mask.marked if joined is None else joined | mask.marked
        is_on_side = {image.orientation > _LAST_UPRIGHT, mask.orientation > _LAST_UPRIGHT}
        is_square = image.size[0] == image.size[1]
        apart |= image.orientation != mask.orientation and (is_square or len(is_on_side) == 1)
        if empty is None and not mask.marked.any():
            empty = path
    assert joined is not None  # there is one file at least
    return Joined(joined, apart, empty)


def turned_apart(name: str, count: int, first: Path) -> str:
    """Say, in a line, that images of a class were turned otherwise than their masks."""
    return (
        f"{name} has {count} images whose orientation (EXIF) is not that of their masks, {first} "
        "the first: each file is turned as it says itself; if masks were drawn on the pixels as "
        "they are stored, save the images upright, without an orientation"
    )


def _size_problem(path: Path, mask: MaskFile, image_path: Path, image: Decoded) -> str:
    (height, width), found = image.size, mask.marked.shape
    wrong = f"{path} is {found[0]} x {found[1]}, expected {height} x {width} as its image"
    if found == (width, height) and image.orientation > _LAST_UPRIGHT >= mask.orientation:
        return (
            f"{wrong} once that is turned (its EXIF orientation is {image.orientation}); turn the "
            f"mask too, or save {image_path.name} upright, without an orientation"
        )
    return f"{wrong}; make the mask again at the image's size"


def unmasked(c: ProductClass) -> list[Sample]:
    """List the defective test images without a mask, of a class that has masks."""
    if not c.has_masks:
        return []
    return [sample for sample in c.test if sample.is_defective and sample.mask_path is None]


def check_masks(classes: Iterable[ProductClass]) -> None:
    """Refuse classes with a defective test image that lacks a mask where others have one.

    Its defect would count as good. A class without any mask is fine: it has no pixel figures.

    Raises:
        DataError: names the first such image.
    """
    for c in classes:
        if missing := unmasked(c):
            raise DataError(
                f"{missing[0].path} has no mask, as {len(missing)} of the defective images of "
                f"{c.name}, where others have one: their defects would count as good; add the "
                "masks, or leave these images out"
            )


def _examine(sample: Sample) -> tuple[str | None, int | None]:
    """Say what makes an image unreadable, and its largest number where that decides its depth."""
    try:
        decoded = decode_sample(sample)
        is_open = sample.reading.bit_depth is None
        highest = depth_evidence(decoded, sample.path) if is_open else None
        if highest is None:
            check_pixels(decoded, sample.path, sample.reading)
        join_masks(sample, decoded)
    except MaskSizeError:
        raise  # such a mask can be read: the data set as a whole is wrong, so it is not skipped
    except DataError as error:
        return str(error), None
    return None, highest
