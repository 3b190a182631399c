"""The bit depth of a data set's pixels, where their files have 16 bits and use fewer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mambaad.errors import DataError
from mambaad.types import ProductClass, Reading

DEPTHS = (8, 10, 12, 14, 16)
_LEFT = 1 / 16
"""Share of the data set's range below which a class is of another camera, or nearly black."""


def find_depth(highest: Mapping[str, Sequence[int]]) -> int:
    """Decide how many bits a data set uses, by the highest value of each class.

    Of the usual depths it is the smallest that holds all values, if they reach into the upper half
    of its range: a camera of two bits more would have used an eighth to a quarter of its own.
    Values too large for 14 bits are of 16, as there is no larger depth.

    Args:
        highest: by class, of each of its images that are stored in 16 or 32 bits; at least one.

    Raises:
        DataError: the values do not decide it, the classes differ, or most images are so dark that
            a few pixels seem to have decided it.
    """
    tops = {name: max(values) for name, values in highest.items()}
    top = max(tops.values())
    depth = _smallest(top)
    if depth < 16 and top < 2 ** (depth - 1):
        raise DataError(
            f"the images' 16-bit values end at {top}, which does not say how many bits are in use; "
            f"give --bit-depth {', '.join(map(str, DEPTHS[DEPTHS.index(depth) : -1]))} or 16"
        )
    darkest = min(tops, key=lambda name: tops[name])
    if tops[darkest] < _LEFT * 2**depth:
        brightest = max(tops, key=lambda name: tops[name])
        raise DataError(
            f"the 16-bit values of {darkest} end at {tops[darkest]}, those of {brightest} at "
            f"{top}: one bit depth cannot suit both; convert one, or give --bit-depth {depth} "
            f"if {darkest} is so dark"
        )
    values = [value for of_class in highest.values() for value in of_class]
    dark = [value for value in values if value < _LEFT * 2**depth]
    if 2 * len(dark) > len(values):
        raise DataError(
            f"{len(dark)} of the {len(values)} images of 16 bits end at {max(dark)}, others at "
            f"{top}, as by a hot pixel: give --bit-depth {_smallest(max(dark))} or {depth}"
        )
    return depth


def _smallest(top: int) -> int:
    return next(depth for depth in DEPTHS if top < 2**depth)


def depth_notes(highest: Mapping[str, Sequence[int]], depth: int) -> list[str]:
    """Say how the pixels are read, if not as their type says, and how many images are dark then.

    Args:
        highest: see :func:`find_depth`.
        depth: that was decided.
    """
    values = [value for of_class in highest.values() for value in of_class]
    notes = []
    if depth < 16:
        notes.append(
            f"16-bit images whose values end at {max(values)}: read as {depth} bits, white is "
            f"{2**depth - 1}; if that is wrong, give --bit-depth"
        )
    dark = [value for value in values if value < _LEFT * 2**depth]
    if dark:
        notes.append(
            f"{len(dark)} of the {len(values)} images of 16 bits have no value above {max(dark)}, "
            f"nearly black where {2**depth - 1} is white: are they of another camera?"
        )
    return notes


def decided_depth(classes: Iterable[ProductClass]) -> int | None:
    """Return the bit depth that the classes' training images are read with; None if it is open."""
    depths = {sample.reading.bit_depth for c in classes for sample in c.train}
    return next(iter(depths - {None}), None)


def with_reading(classes: Iterable[ProductClass], reading: Reading) -> list[ProductClass]:
    """Return the classes with images that are read in this way."""
    return [
        replace(
            c,
            train=tuple(replace(sample, reading=reading) for sample in c.train),
            test=tuple(replace(sample, reading=reading) for sample in c.test),
        )
        for c in classes
    ]
