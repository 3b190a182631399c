"""The interface of a reader: how it recognises a folder, names its classes, and lists their images.

To support a further layout: copy the most similar file of this folder, which ends with a
:class:`Layout` called ``LAYOUT``, and add it to the table in :mod:`mambaad.data.layouts`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mambaad.data.walk import Unread, is_open, text, walk
from mambaad.errors import DataError
from mambaad.types import ProductClass, Sample

Split = Literal["train", "test"]
Complain = Callable[[str], None]
"""Called with each problem: :func:`stop`, or a list's ``append`` to collect them all."""


def stop(problem: str) -> None:
    """Raise a problem as a DataError."""
    raise DataError(problem)


Parts = tuple[str, ...]
"""The names of the folders that lead from a data set's folder to a file, and the file's."""


@dataclass(frozen=True)
class Layout:
    """One layout of a data set on disk, as plain functions.

    ``name``: the value of ``--layout``; ``title``: the name in messages.
    ``recognises(root)``: whether a folder has this layout; fast, never raises.
    ``class_names(root, split)``: the classes found, in order; DataError if there are none.
    ``read_classes(root, names, split, complain)``: the images of those classes. With
    ``split="test"`` it reads nothing of the training images. It goes on after ``complain`` returns.
    ``published_classes``: those of the data set as published, to find missing ones.
    ``form``: where its images are, in words. ``aside(parts)``: whether a file belongs to the data
    set as published, though it is not read. ``beside``: what the names of masks end with, in lower
    case, that lie beside their images: those of good parts are not read either.
    ``one_by_one``: whether each class is a data set of its own, to be trained on separately.
    """

    name: str
    title: str
    recognises: Callable[[Path], bool]
    class_names: Callable[[Path, Split], list[str]]
    read_classes: Callable[[Path, Sequence[str], Split, Complain], list[ProductClass]]
    published_classes: tuple[str, ...] = ()
    form: str = "a list of its images"
    aside: Callable[[Parts], bool] = lambda parts: False
    beside: tuple[str, ...] = ()
    one_by_one: bool = False

    def read(
        self, root: Path, classes: Sequence[str] | None = None, *, split: Split = "train"
    ) -> list[ProductClass]:
        """List the images of a data set; nothing is decoded.

        Args:
            root: where the data set is.
            classes: the classes wanted; all by default.
            split: the purpose of the images. ``"train"`` needs two training images a class;
                ``"test"`` reads nothing of the training images.

        Raises:
            DataError: no or unknown classes, or the first problem; names the path.
        """
        root = Path(root)
        try:
            return self._read(root, classes, split)
        except DataError:
            if root.is_dir():
                refuse_closed(walk(root).unread)  # which may be why
            raise

    def _read(self, root: Path, classes: Sequence[str] | None, split: Split) -> list[ProductClass]:
        found = self.class_names(root, split)
        classes = None if classes is None else [text(name) for name in classes]
        unknown = sorted(set(classes or ()) - set(found))
        if unknown:
            raise DataError(
                f"{root} has no class {', '.join(unknown)}; choose from {', '.join(found)} "
                "(mambaad train: --classes)"
            )
        wanted = [name for name in found if classes is None or name in classes]
        if self.one_by_one and split == "train" and len(wanted) > 1:
            raise DataError(
                f"{root} has {', '.join(wanted)}, and what one holds out as defective the others "
                f"train on; train on one of them: --classes {wanted[0]}"
            )
        return self.read_classes(root, wanted, split, stop)


def closed_problem(one: Unread) -> str:
    """Say, in a line, what to do about a folder that cannot be listed."""
    return f"{one.path} {one.reason}; allow it to be read, or remove it"


def refuse_closed(unread: Iterable[Unread], advice: str = "") -> None:
    """Raise a DataError if there are folders that cannot be listed."""
    closed = [one for one in unread if one.is_closed]
    if closed:
        more = f" (and {len(closed) - 1} more like it)" if len(closed) > 1 else ""
        raise DataError(f"{closed_problem(closed[0])}{more}{advice}")


def listed_class(
    name: str,
    train: Iterable[Sample],
    test: Iterable[Sample],
    source: Path,
    split: Split,
    complain: Complain,
    *,
    lines: Mapping[Sample, int] | None = None,
) -> ProductClass:
    """A class from a list of files: the file ``source`` says which image is for what.

    Complains of each listed image or mask that is missing, and of fewer than two to train on.

    Args:
        lines: the line of ``source`` that lists a sample, where a user wrote it; None for the lists
            of published data sets, which are complete once they are unpacked.
    """
    listings: _Listings = {}
    products = tuple(
        tuple(
            found
            for sample in part
            if (found := _there(sample, source, complain, listings, lines)) is not None
        )
        for part in (train if split == "train" else (), test)
    )
    product = ProductClass(name, *products)
    if split == "train" and len(product.train) < 2:
        mend = "download the data set again" if lines is None else "list more"
        complain(
            f"{source} has {len(product.train)} images to train class {name} on, expected at least "
            f"2; {mend}, or leave the class out with --classes"
        )
    return product


def _there(
    sample: Sample,
    source: Path,
    complain: Complain,
    listings: _Listings,
    lines: Mapping[Sample, int] | None,
) -> Sample | None:
    """Find the files of a sample on the disk; None without its image."""
    line, mend = str(source), "unpack the data set again"
    if lines is not None:
        line, mend = f"{source}, line {lines[sample]},", "correct or remove the line"
    path = _on_disk(sample.path, listings)
    mask = sample.mask_path and _on_disk(sample.mask_path, listings)
    if path is None or not path.is_file():
        complain(f"{sample.path} is listed in {line} but is missing; {mend}")
        return None
    if sample.mask_path is not None and (mask is None or not mask.is_file()):
        complain(
            f"{sample.mask_path} is listed in {line} as the mask of {sample.path.name} but is "
            f"missing; {mend}"
        )
        mask = None
    return replace(sample, path=path, mask_path=mask)


_Listings = dict[Path, dict[str, list[str]]]


def _on_disk(path: Path, listings: _Listings) -> Path | None:
    """Find a listed file that is spelt in another case or form of Unicode on the disk.

    Args:
        path: as it is listed.
        listings: of the folders that were searched: their names, by what they have in common.
    """
    if os.path.exists(path):  # noqa: PTH110  # Path.exists raises in a folder that is closed
        return path
    folder = _on_disk(path.parent, listings) if path.parent != path else None
    if folder is None or not is_open(folder):
        return None
    if folder not in listings:
        listings[folder] = {}
        for found in folder.iterdir():
            listings[folder].setdefault(text(found.name).casefold(), []).append(found.name)
    same = listings[folder].get(text(path.name).casefold(), [])
    return folder / same[0] if len(same) == 1 else None
