"""A data set that a program has: a sequence of images with their products, in files or not."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from mambaad.data.decoding import Decoded, decode
from mambaad.data.given import decode_given
from mambaad.data.mask_files import mask_of, read_mask
from mambaad.data.readers.base import Split
from mambaad.errors import ConfigError, DataError
from mambaad.file_errors import cannot_read
from mambaad.files import file_digest
from mambaad.progress import ProgressBar, warn
from mambaad.types import ProductClass, Reading, Sample

GOOD = "good"


class Part(NamedTuple):
    """One image of a data set that a program has.

    ``image``: a path, or whatever else :meth:`mambaad.Inspector.inspect` takes (RGB). ``product``:
    the name of its class. ``label``: ``"good"``, or the kind of its defect. ``mask``: of the
    defect, at the image's size, in any of these forms; what is not 0 is defective (of grey levels
    from half on). None: there is none, or the part is good.
    """

    image: Any
    product: str
    label: str = GOOD
    mask: Any = None


@runtime_checkable
class PartSequence(Protocol):
    """What a data set of a program must have: a list has it, and a data set of PyTorch."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True)
class Held:
    """The image of a part that is in no file of its own, and its mask: taken when it is read.

    ``digest``: the SHA-256 of its pixels.
    """

    parts: Parts
    index: int
    digest: str = ""

    def decode(self, reading: Reading) -> Decoded:
        """Take the image, as it would be decoded from a file; see :func:`decode_given`."""
        return _decoded(self.parts[self.index].image, f"data[{self.index}]", reading)

    def mask(self, reading: Reading) -> Bool[np.ndarray, "h w"]:
        """Take the mask, which there is (DataError: it has no safe reading)."""
        mask, name = self.parts[self.index].mask, f"the mask of data[{self.index}]"
        if isinstance(mask, (str, os.PathLike)):
            return read_mask(Path(mask), reading.max_pixels)
        decoded = decode_given(mask, name, Reading(8, (0, 1), reading.max_pixels))
        return mask_of(decoded, Path(name)).marked


class Parts:
    """A program's data set, whose parts are taken one at a time, and again when they are needed.

    Args:
        data: each item is a :class:`Part`, or a tuple of the same. An index gives the same each
            time.
    """

    def __init__(self, data: PartSequence) -> None:
        self._data = data
        self._turn = threading.Lock()  # images are read by several threads

    def __len__(self) -> int:
        return len(self._data)

    def __str__(self) -> str:
        return "the data"

    def __getitem__(self, index: int) -> Part:
        """Take a part (ConfigError: it is none)."""
        with self._turn:
            item = self._data[index]
        where = f"data[{index}]"
        if not isinstance(item, (tuple, list)) or not 2 <= len(item) <= 4:
            raise ConfigError(
                f"{where} is of type {type(item).__name__}, expected mambaad.Part(image, product), "
                "or a tuple of the same"
            )
        part = Part(*item)
        for what, name in (("product", part.product), ("label", part.label)):
            if not isinstance(name, str) or not name:
                raise ConfigError(f"the {what} of {where} is {name!r}, expected its name")
        return part

    def classes(
        self,
        wanted: Sequence[str] | None = None,
        *,
        split: Split = "train",
        reading: Reading,
        skip_unreadable: bool = False,
    ) -> list[ProductClass]:
        """List the parts by product, as a folder's images are: to train on, or to test on.

        Each is taken once, and those that are in no file are identified by their pixels.

        Args:
            wanted: the products; all by default.
            split: for ``"train"`` all parts are to be good.
            reading: how pixels are read.
            skip_unreadable: leave out, and name, what cannot be read.

        Raises:
            ConfigError: an item that is no part, or an unknown product.
            DataError: an image or mask that cannot be read, a defective part to train on, or fewer
                than two of a product.
        """
        by_product: dict[str, list[Sample]] = {}
        with ProgressBar("taking parts") as bar:
            for index in range(len(self)):
                part = self[index]
                bar.update(index + 1, len(self))
                if wanted is None or part.product in wanted:
                    try:
                        sample = self._sample(index, part, reading)
                    except DataError as error:
                        if not skip_unreadable:
                            raise
                        warn(f"left out: {error}")
                        continue
                    if split == "train" and sample.is_defective:
                        raise DataError(
                            f"data[{index}] is labelled '{part.label}', expected good parts to "
                            "train on; leave it out, and give it to mambaad.evaluate"
                        )
                    by_product.setdefault(part.product, []).append(sample)
        if missing := sorted(set(wanted or ()) - set(by_product)):
            raise ConfigError(f"classes: the data have no parts of {', '.join(missing)}")
        if not by_product:
            raise DataError("the data have no parts; give some")
        for name, samples in by_product.items():
            if split == "train" and len(samples) < 2:
                raise DataError(f"the data have one part of {name}, expected at least 2; add some")
        return [
            ProductClass(name, *((tuple(s), ()) if split == "train" else ((), tuple(s))))
            for name, s in sorted(by_product.items())
        ]

    def _sample(self, index: int, part: Part, reading: Reading) -> Sample:
        """Make the entry of a part: of files where it is in files."""
        where, mask = f"data[{index}]", part.mask
        if part.label == GOOD and mask is not None:
            if Held(self, index).mask(reading).any():
                raise ConfigError(
                    f"{where} is labelled good, and its mask marks a defect; give the kind of "
                    'defect, such as label="defect", or no mask'
                )
            mask = None
        is_file = isinstance(part.image, (str, os.PathLike))
        mask_is_file = isinstance(mask, (str, os.PathLike))
        path = Path(part.image) if is_file else Path(where)
        mask_path = Path(mask) if mask_is_file else Path(f"the mask of {where}")
        held = None
        if not is_file or not (mask is None or mask_is_file):
            held = Held(self, index, _digest(part.image, where, reading))
        return Sample(
            path,
            part.product,
            part.label,
            None if mask is None else mask_path,
            reading,
            held=held,
        )


def as_source(data: Any) -> Path | Parts:
    """Tell a folder from a data set that a program has.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(data, (str, os.PathLike)):
        return Path(data)
    if isinstance(data, Parts):
        return data
    if isinstance(data, PartSequence) and not isinstance(data, (Mapping, bytes, np.ndarray)):
        return Parts(data)
    raise ConfigError(
        f"data: expected a folder, or a sequence of mambaad.Part, got {type(data).__name__}; make "
        "a list of what comes one after another"
    )


def _decoded(image: Any, name: str, reading: Reading) -> Decoded:
    if isinstance(image, (str, os.PathLike)):
        return decode(Path(image), reading.max_pixels)
    return decode_given(image, name, reading)


def _digest(image: Any, name: str, reading: Reading) -> str:
    """Compute the SHA-256 of an image's pixels; of a file, its own."""
    if isinstance(image, (str, os.PathLike)):
        try:
            return file_digest(Path(image))
        except OSError as error:
            raise DataError(cannot_read(Path(image), error, "restore it")) from error
    decoded = decode_given(image, name, reading)
    pixels = np.asarray(decoded.image) if decoded.wide is None else decoded.wide
    kind = f"{pixels.dtype.str} {pixels.shape} "
    return hashlib.sha256(kind.encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
