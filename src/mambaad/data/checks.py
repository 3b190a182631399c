"""Looking at every image before any work starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from mambaad.data.images import read_image, read_mask
from mambaad.errors import DataError
from mambaad.types import ProductClass, Sample


def check_images(
    classes: Sequence[ProductClass],
    *,
    skip_unreadable: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[ProductClass], list[str]]:
    """Decode every image and mask once.

    Args:
        skip_unreadable: leave unreadable images out instead of raising.
        progress: told how many of how many are done.

    Returns:
        The classes with what is readable, and a line for each image that was left out.

    Raises:
        DataError: an unreadable image or mask (the first, and how many more there are), a mask of
            another size than its image, or a class left with fewer than two training images.
    """
    samples = [sample for c in classes for sample in (*c.train, *c.test)]
    problems: dict[Sample, str] = {}
    for done, (sample, problem) in enumerate(_problems(samples), start=1):
        if problem:
            problems[sample] = problem
        progress(done, len(samples))
    if problems and not skip_unreadable:
        first, *others = problems.values()
        more = f" (and {len(others)} more like it)" if others else ""
        raise DataError(f"{first}{more}; go on without such images with --skip-unreadable")
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
    return kept, list(problems.values())


def _problems(samples: Sequence[Sample]) -> Iterator[tuple[Sample, str | None]]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            yield from zip(samples, pool.map(_problem, samples), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)


def _problem(sample: Sample) -> str | None:
    try:
        expected = read_image(sample.path).shape[:2]
        if sample.mask_path is None:
            return None
        mask = read_mask(sample.mask_path).shape
    except DataError as error:
        return str(error)
    if mask != expected:
        # Not a matter of readability: a data set with such a mask is wrong as a whole.
        raise DataError(
            f"{sample.mask_path} is {mask[0]} x {mask[1]}, expected {expected[0]} x {expected[1]} "
            "as its image; make the mask again at the image's size"
        )
    return None
