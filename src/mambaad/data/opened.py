"""Opening every image of a data set, to find what is damaged, repeated, or of another size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mambaad.data.checks import mask_size_problem
from mambaad.data.containers import find_format
from mambaad.data.decoding import decode_bytes, read_image_file
from mambaad.data.images import depth_evidence, is_transparent, to_rgb
from mambaad.data.mask_files import read_mask
from mambaad.data.read_ahead import read_ahead
from mambaad.errors import DataError
from mambaad.file_errors import cannot_read
from mambaad.types import ProductClass, Sample

NEARLY_ALL = 0.9
"""Share of an image from which on a mask marks nearly all of it."""


@dataclass(frozen=True)
class Opened:
    """The result of opening one image and its mask.

    ``digest``: of the file's content. ``size``: height and width in pixels. ``problem``: a line
    about an image that cannot be used, or ``""``. ``covered``: share of the image that its mask
    marks; None without one. ``highest``: its largest number, where that decides the bit depth of
    the data set. ``is_transparent``: whether it is transparent in places, which is not looked at.
    """

    sample: Sample
    digest: bytes
    size: tuple[int, int] = (0, 0)
    problem: str = ""
    covered: float | None = None
    highest: int | None = None
    is_transparent: bool = False


def open_samples(samples: Iterable[Sample]) -> Iterator[Opened]:
    """Open images and their masks, in their order, by as many threads as there are cores."""
    threads = os.cpu_count() or 1
    return read_ahead(open_sample, samples, workers=threads, ahead=2 * threads)


def open_sample(sample: Sample) -> Opened:
    """Open an image and its mask; what is wrong with them is in ``problem``."""
    # A file that cannot be read equals no other one.
    digest = hashlib.sha256(os.fsencode(sample.path)).digest()
    try:
        content = read_image_file(sample.path, sample.reading.max_pixels)
    except OSError as error:
        return Opened(sample, digest, problem=cannot_read(sample.path, error, "remove it"))
    if not content:
        return Opened(sample, digest, problem=f"{sample.path} has no bytes; download it again")
    if find_format(content):
        digest = hashlib.sha256(content).digest()
    highest = None
    try:
        decoded = decode_bytes(content, sample.path, sample.reading.max_pixels)
        size = decoded.size
        if sample.reading.bit_depth is None:
            highest = depth_evidence(decoded, sample.path)
        if highest is None:
            to_rgb(decoded, sample.path, sample.reading)
        transparent = is_transparent(decoded)
        if sample.mask_path is None:
            return Opened(sample, digest, size, highest=highest, is_transparent=transparent)
        most = sample.reading.max_pixels
        masks = {path: read_mask(path, most) for path in (sample.mask_path, *sample.more_masks)}
    except DataError as error:
        return Opened(sample, digest, problem=str(error), highest=highest)
    problems = [mask_size_problem(path, mask.shape, size) for path, mask in masks.items()]
    problem = next(filter(None, problems), "")
    covered = max(float(mask.mean()) for mask in masks.values())
    return Opened(sample, digest, size, problem, covered, highest, transparent)


def note_odd_images(name: str, images: Sequence[Opened]) -> Iterator[str]:
    """Note, in a line each, that a class has images of several sizes, or empty masks."""
    sizes = {opened.size for opened in images if not opened.problem}
    if len(sizes) > 1:
        smallest, largest = min(sizes), max(sizes)
        yield (
            f"{name} has images of {len(sizes)} sizes (height x width), "
            f"{smallest[0]} x {smallest[1]} to {largest[0]} x {largest[1]}"
        )
    transparent = [opened.sample for opened in images if opened.is_transparent]
    if transparent:
        yield (
            f"{name} has {len(transparent)} images that are transparent in places, "
            f"{transparent[0].path} the first: their colours are read as if they were opaque"
        )
    empty = [opened.sample for opened in images if opened.covered == 0]
    if empty:
        yield (
            f"{name} has {len(empty)} defective images whose mask is empty, "
            f"{empty[0].mask_path} the first"
        )
    full = [opened.sample for opened in images if (opened.covered or 0) > NEARLY_ALL]
    covered = [opened.covered for opened in images if opened.covered is not None]
    if full and inverted_masks(name, covered) is None:  # which is a problem, not a note
        yield (
            f"{name} has {len(full)} masks that mark more than {NEARLY_ALL:.0%} of their image, "
            f"{full[0].mask_path} the first: defects are expected to be above 0, and the rest 0"
        )


def inverted_masks(name: str, covered: Sequence[float]) -> str | None:
    """Say that a class's masks seem to be inverted: most of them mark nearly everything.

    Args:
        name: the class.
        covered: of each of its masks, the share of the image that it marks.
    """
    full = sum(share > NEARLY_ALL for share in covered)
    if not full or 2 * full <= len(covered):
        return None
    return (
        f"{full} of the {len(covered)} masks of {name} mark more than {NEARLY_ALL:.0%} of their "
        "image, so they seem to be inverted; save them with 0 for good, 255 for defective"
    )


def find_twins(c: ProductClass, images: Sequence[Opened]) -> tuple[list[str], list[str]]:
    """Find images that are there twice.

    Args:
        c: a class.
        images: its training images, then its test images.

    Returns:
        A problem for each test image that is also trained on, and notes on repeated training
        images.
    """
    first: dict[bytes, Path] = {}
    for opened in images[: len(c.train)]:
        first.setdefault(opened.digest, opened.sample.path)
    problems = [
        f"{opened.sample.path} is the same image as {first[opened.digest]}, which is trained on; "
        "remove one"
        for opened in images[len(c.train) :]
        if opened.digest in first
    ]
    repeated = len(c.train) - len(first)
    notes = [f"{c.name} has {repeated} training images more than once"] if repeated else []
    return problems, notes
