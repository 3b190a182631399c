"""Opening every image of a data set, to find what is damaged, repeated, or of another size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mambaad.data.checks import mask_size_problem
from mambaad.data.images import read_image, read_mask
from mambaad.data.read_ahead import read_ahead
from mambaad.errors import DataError
from mambaad.types import ProductClass, Sample


@dataclass(frozen=True)
class Opened:
    """The result of opening one image and its mask.

    ``digest``: of the file's content. ``size``: height and width in pixels. ``problem``: a line
    about an image that cannot be used, or ``""``.
    """

    sample: Sample
    digest: bytes
    size: tuple[int, int] = (0, 0)
    problem: str = ""
    has_empty_mask: bool = False


def open_samples(samples: Iterable[Sample]) -> Iterator[Opened]:
    """Open images and their masks, in their order, by as many threads as there are cores."""
    threads = os.cpu_count() or 1
    return read_ahead(open_sample, samples, workers=threads, ahead=2 * threads)


def open_sample(sample: Sample) -> Opened:
    """Open an image and its mask; what is wrong with them is in ``problem``."""
    # A file that cannot be read equals no other one.
    digest = hashlib.sha256(os.fsencode(sample.path)).digest()
    try:
        content = sample.path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        return Opened(sample, digest, problem=f"{sample.path} cannot be read ({reason})")
    if not content:
        return Opened(sample, digest, problem=f"{sample.path} has no bytes; download it again")
    digest = hashlib.sha256(content).digest()
    try:
        height, width, _ = read_image(sample.path).shape
        if sample.mask_path is None:
            return Opened(sample, digest, (height, width))
        masks = {path: read_mask(path) for path in (sample.mask_path, *sample.more_masks)}
    except DataError as error:
        return Opened(sample, digest, problem=str(error))
    problems = [mask_size_problem(p, mask.shape, (height, width)) for p, mask in masks.items()]
    problem = next(filter(None, problems), "")
    is_empty = not any(mask.any() for mask in masks.values())
    return Opened(sample, digest, (height, width), problem, is_empty)


def note_odd_images(name: str, images: Sequence[Opened]) -> Iterator[str]:
    """Note, in a line each, that a class has images of several sizes, or empty masks."""
    sizes = {opened.size for opened in images if not opened.problem}
    if len(sizes) > 1:
        smallest, largest = min(sizes), max(sizes)
        yield (
            f"{name} has images of {len(sizes)} sizes (height x width), "
            f"{smallest[0]} x {smallest[1]} to {largest[0]} x {largest[1]}"
        )
    empty = [opened.sample for opened in images if opened.has_empty_mask]
    if empty:
        yield (
            f"{name} has {len(empty)} defective images whose mask is empty, "
            f"{empty[0].mask_path} the first"
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
