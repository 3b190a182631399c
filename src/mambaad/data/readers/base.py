"""What the reader of a data set is: how it knows a folder, names its classes, and reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mambaad.errors import DataError
from mambaad.types import ProductClass, Sample

Split = Literal["train", "test"]
Complain = Callable[[str], None]
"""Told of each thing that is wrong: :func:`stop`, or a list's ``append`` to see all of them."""


def stop(problem: str) -> None:
    """Raise what is wrong as a DataError."""
    raise DataError(problem)


def nothing_odd(root: Path) -> Iterator[str]:
    """For layouts whose split says all that there is to know."""
    return iter(())


@dataclass(frozen=True)
class Layout:
    """One way of laying out a data set.

    ``name``: for ``--layout``; ``title``: for people.
    ``recognises(root)``: whether a folder looks like it, cheaply and without raising.
    ``class_names(root, split)``: the classes to be had, in order; DataError where there are none.
    ``read_classes(root, names, split, complain)``: those classes. With ``split="test"`` nothing of
    the training images is read. Goes on after ``complain`` has returned.
    ``products``: the classes of the published data set, to see which are missing.
    ``odd(root)``: a line for each thing that reading passes over and its owner may not know of.
    ``one_by_one``: each class is a data set of its own, not to be trained on with the others.
    """

    name: str
    title: str
    recognises: Callable[[Path], bool]
    class_names: Callable[[Path, Split], list[str]]
    read_classes: Callable[[Path, Sequence[str], Split, Complain], list[ProductClass]]
    products: tuple[str, ...] = ()
    odd: Callable[[Path], Iterable[str]] = nothing_odd
    one_by_one: bool = False

    def read(
        self, root: Path, classes: Sequence[str] | None = None, *, split: Split = "train"
    ) -> list[ProductClass]:
        """List the images of a data set; nothing is decoded.

        Args:
            root: where the data set is.
            classes: the classes wanted; all without it.
            split: what the images are for. A class needs at least two images to train on; for
                testing, nothing of its training images is read.

        Raises:
            DataError: no or unknown classes, or the first thing that is wrong; names the path.
        """
        root = Path(root)
        found = self.class_names(root, split)
        unknown = sorted(set(classes or ()) - set(found))
        if unknown:
            raise DataError(
                f"{root} has no class {', '.join(unknown)}; choose from {', '.join(found)} "
                "(--classes)"
            )
        wanted = [name for name in found if classes is None or name in classes]
        if self.one_by_one and split == "train" and len(wanted) > 1:
            raise DataError(
                f"{root} has {', '.join(wanted)}, and what one holds out as defective the others "
                f"train on; train on one of them: --classes {wanted[0]}"
            )
        return self.read_classes(root, wanted, split, stop)


def listed_class(
    name: str,
    train: Iterable[Sample],
    test: Iterable[Sample],
    source: Path,
    split: Split,
    complain: Complain,
) -> ProductClass:
    """A class from a list of files: the file ``source`` says which image is for what.

    Complains of each listed image or mask that is not there, and of fewer than two to train on.
    """
    product = ProductClass(
        name,
        tuple(_there(train, source, complain)) if split == "train" else (),
        tuple(_there(test, source, complain)),
    )
    if split == "train" and len(product.train) < 2:
        complain(
            f"{source} has {len(product.train)} images to train class {name} on, expected at least "
            "2; get the data set again, or leave the class out with --classes"
        )
    return product


def _there(samples: Iterable[Sample], source: Path, complain: Complain) -> Iterator[Sample]:
    for sample in samples:
        if not sample.path.is_file():
            complain(
                f"{sample.path} is listed in {source} but is not there; unpack the data set again"
            )
        elif sample.mask_path is not None and not sample.mask_path.is_file():
            complain(
                f"{sample.mask_path} is listed in {source} as the mask of {sample.path.name} but "
                "is not there; unpack the data set again"
            )
            yield replace(sample, mask_path=None)
        else:
            yield sample
