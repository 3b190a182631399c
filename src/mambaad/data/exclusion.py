"""Training images that are left out by name, such as defective ones among the good."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mambaad.data.walk import text
from mambaad.documents import shortened
from mambaad.errors import ConfigError, DataError
from mambaad.file_errors import cannot_read
from mambaad.files import read_regular
from mambaad.types import ProductClass

_MOST_BYTES = 2**26  # of a list


def relative_name(path: Path, root: Path) -> str:
    """Name an image by its path relative to the data set, with slashes: ``nut/train/good/3.png``.

    Some layouts have their images beside the folder that is given: such names begin with ``..``.
    """
    return Path(text(os.path.relpath(path, root))).as_posix()


def read_exclusions(given: str | Path | Iterable[str | Path], root: Path) -> tuple[str, ...]:
    """Return the names of images to leave out, from a list file or from paths.

    Args:
        given: a text file with one path a line, in which blank lines and lines that begin with
            ``#`` do not count; or the paths. They are relative to ``root``, or absolute.
        root: the folder of the data set.

    Raises:
        ConfigError: a file that cannot be read.
    """
    if isinstance(given, (str, Path)):
        try:
            text = read_regular(Path(given), _MOST_BYTES).decode("utf-8-sig")
        except OSError as error:
            raise ConfigError(cannot_read(f"--exclude: {given}", error)) from error
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"--exclude: {given} cannot be read (not text in UTF-8); give a text file with one "
                "path a line"
            ) from error
        lines = (line.strip() for line in text.splitlines())
        given = [line for line in lines if line and not line.startswith("#")]
    return tuple(
        relative_name(Path(path) if Path(path).is_absolute() else root / path, root)
        for path in given
    )


def exclusion_list(names: Iterable[str], comments: Sequence[str]) -> str:
    """Write the text of a list file, which :func:`read_exclusions` reads.

    Args:
        names: see :func:`relative_name`.
        comments: lines at its head.
    """
    # A name that begins like a comment gets a harmless "./" before it.
    lines = [f"./{name}" if name[:1] in ("#", " ") else name for name in names]
    return "".join(f"{line}\n" for line in [*(f"# {comment}" for comment in comments), *lines])


def list_beside(page: Path) -> Path:
    """Return the path of a list file beside a page: with the suffix ``.txt``.

    Raises:
        ConfigError: the page's name does not end in ``.html``, so that it might be the list's.
    """
    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out: expected a page such as suspects.html, got '{page}'")
    return page.with_suffix(".txt")


def check_share(share: float | None) -> None:
    """Refuse a share of images that cannot be; None is none (ConfigError)."""
    if share is not None and not 0 < share < 1:
        raise ConfigError(f"--share: expected a share above 0 and below 1, got {share}")


def without(
    classes: Iterable[ProductClass], root: Path, names: Collection[str]
) -> list[ProductClass]:
    """Return the classes without the training images of those names (:func:`relative_name`)."""
    left_out = frozenset(map(text, names))
    return [
        replace(c, train=tuple(s for s in c.train if relative_name(s.path, root) not in left_out))
        if left_out
        else c
        for c in classes
    ]


def leave_out(
    classes: Sequence[ProductClass], root: Path, names: Collection[str]
) -> list[ProductClass]:
    """Return the classes without the training images of those names, each of which must be one.

    Args:
        classes: with all of their training images.
        root: the folder of the data set.
        names: see :func:`relative_name`.

    Raises:
        ConfigError: a name that is no training image of the classes.
        DataError: a class that would have fewer than two training images.
    """
    known = {relative_name(s.path, root) for c in classes for s in c.train} if names else set()
    unknown = sorted(set(map(text, names)) - known)
    if unknown:
        more = f" (nor are {len(unknown) - 1} others)" if len(unknown) > 1 else ""
        raise ConfigError(
            f"--exclude: {shortened(unknown[0])} is not a training image of {root}{more}; give "
            "paths relative to the data set, of the classes that are trained on"
        )
    left = without(classes, root, names)
    for before, c in zip(classes, left, strict=True):
        if len(c.train) < 2 <= len(before.train):
            raise DataError(
                f"--exclude leaves {len(c.train)} of the {len(before.train)} training images of "
                f"class {c.name}, expected at least 2; exclude fewer, or train without the class "
                "(mambaad train --classes)"
            )
    return left
