"""Opening every image of a data set, to find what is damaged, repeated, or of another size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mambaad.data.checks import MaskSizeError, join_masks, turned_apart
from mambaad.data.containers import find_format
from mambaad.data.decoding import decode_bytes, read_image_file
from mambaad.data.images import check_pixels, depth_evidence, is_transparent
from mambaad.data.polarity import Coverage, coverage
from mambaad.data.read_ahead import read_ahead
from mambaad.errors import DataError
from mambaad.file_errors import cannot_read
from mambaad.types import ProductClass, Sample


@dataclass(frozen=True)
class Opened:
    """The result of opening one image and its mask.

    ``digest``: of the file's content. ``size``: height and width in pixels. ``problem``: a line
    about an image that cannot be used, or ``""``. ``cover``: what its mask covers; None without
    one. ``highest``: its largest number, where that decides the bit depth of the data set.
    ``is_transparent``: whether it is transparent in places, which is not looked at.
    ``turned_apart``: see :class:`mambaad.data.checks.Joined`. ``empty``: the first of its masks'
    files that marks nothing.
    """

    sample: Sample
    digest: bytes
    size: tuple[int, int] = (0, 0)
    problem: str = ""
    cover: Coverage | None = None
    highest: int | None = None
    is_transparent: bool = False
    turned_apart: bool = False
    empty: Path | None = None


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
            check_pixels(decoded, sample.path, sample.reading)
        transparent = is_transparent(decoded)
        mask = join_masks(sample, decoded)
    except MaskSizeError as error:
        return Opened(sample, digest, size, str(error), None, highest, transparent)
    except DataError as error:
        return Opened(sample, digest, problem=str(error), highest=highest)
    if mask is None:
        return Opened(sample, digest, size, highest=highest, is_transparent=transparent)
    cover = coverage(mask.marked)
    return Opened(
        sample, digest, size, "", cover, highest, transparent, mask.turned_apart, mask.empty
    )


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
    empty = [opened.empty for opened in images if opened.empty is not None]
    if empty:
        yield f"{name} has {len(empty)} defective images whose mask is empty, {empty[0]} the first"
    apart = [opened.sample.path for opened in images if opened.turned_apart]
    if apart:
        yield turned_apart(name, len(apart), apart[0])


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
