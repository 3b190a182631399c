"""The one walk through a folder: which of its files are images, and what is passed over, and why.

Training, checking, evaluating and predicting all walk folders by these rules:

- sub-folders are searched to any depth;
- locks and unfinished files of this package count as absent;
- hidden files and folders, and those that systems and network stores keep to themselves
  (``@eaDir``, ``$RECYCLE.BIN``, ...), are passed over;
- files are images by their suffix, in upper or lower case;
- a link to a file is that file. A link to a folder is followed once. It is not followed where that
  folder lies within the one that is walked, where it is found without the link, or around it,
  where the walk would have no end;
- whatever else there is is passed over, with a reason, and never opened; so is a folder that may
  not be listed or entered.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from mambaad.files import is_own, printable

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".pjpeg", ".pjp"),
    *(".bmp", ".tif", ".tiff", ".webp"),
)
_SYSTEM = frozenset(
    [
        *("@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot"),
        *("$recycle.bin", "recycler", "recycled", "system volume information", "lost+found"),
        *("__macosx", "__pycache__"),
    ]
)
"""Names, in lower case, of folders that systems, network stores and archives keep to themselves."""

_NO_IMAGES = frozenset(
    [
        *(".txt", ".md", ".rst", ".pdf", ".doc", ".docx", ".odt", ".rtf", ".html", ".htm"),
        *(".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".xls", ".xlsx"),
        *(".log", ".ini", ".cfg", ".db", ".py", ".sh", ".bat", ".ipynb", ".md5", ".sha256"),
        *(".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".parquet"),
    ]
)
"""Suffixes, in lower case, of files that nobody expects to be read as images."""

_TEXTS = frozenset(
    ["readme", "license", "licence", "copying", "notice", "authors", "changelog", "icon"]
)
"""First words, in lower case, of names without a suffix that nobody expects to be images either."""

_MANY = 10_000


@dataclass(frozen=True)
class Unread:
    """A file that is not read, or a folder of which nothing is.

    ``kind``: what it is, in a word or two. ``reason``: why, as the end of a sentence that begins
    with the path. ``files``: how many files it stands for. ``is_usual``: whether nobody expects it
    to be read, as with hidden files. ``is_closed``: whether it is a folder that may not be looked
    into, so that nobody knows what is missing.
    """

    path: Path
    kind: str
    reason: str
    files: int = 1
    is_usual: bool = False
    is_closed: bool = False


@dataclass
class Found:
    """The images below a folder, sorted by path, and everything else that is there."""

    images: list[Path] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)


def text(name: str | Path) -> str:
    """Return the name of a file or folder as text: valid Unicode, composed (NFC).

    Systems write "ü" in one character or as two, and other names that are no Unicode at all.
    """
    plain = str(name)
    if plain.isascii() and plain.isprintable():
        return plain
    return unicodedata.normalize("NFC", printable(plain))


def is_image(path: Path) -> bool:
    """Whether the name is that of an image file that is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and is_visible(path.name)


def is_visible(name: str) -> bool:
    """Whether a file or folder of that name is neither hidden nor a system's own."""
    return not name.startswith(".") and name.lower() not in _SYSTEM


def walk(root: Path, *, leave_out: Collection[Path] = (), follow: Collection[Path] = ()) -> Found:
    """Find the images below a folder, and name what is passed over.

    Args:
        root: an existing folder, which may be hidden or a link itself.
        leave_out: files and folders below ``root`` that count as absent.
        follow: folders below ``root`` that are searched, wherever they lead.
    """
    found = Found()
    top = os.path.realpath(root)
    seen = set[str]()
    folders, links = [(Path(root), top)], list[Path]()
    while folders or links:
        if folders:
            folder, real = folders.pop()
            reason = "is read already, through a link" if real in seen else None
        else:  # after all folders proper
            folder = links.pop(0)
            real = os.path.realpath(folder)
            reason = _why_not_followed(real, top, seen)
        if reason and folder not in follow:
            found.unread.append(Unread(folder, "link", reason, 0))
            continue
        seen.add(real)
        try:
            entries = entries_of(folder)
        except OSError as error:
            reason = f"cannot be listed ({error.strerror or error})"
            found.unread.append(Unread(folder, "closed folder", reason, 0, is_closed=True))
            continue
        for entry in entries:
            path = folder / entry.name
            if path in leave_out or is_own(entry.name):
                continue
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # a link to itself
                is_folder = is_file = False
            if is_folder and is_visible(entry.name):
                if _is_link(entry):
                    links.append(path)
                else:
                    folders.append((path, os.path.join(real, entry.name)))  # noqa: PTH118  # quick
            elif is_folder:
                found.unread.append(_unread_folder(path))
            elif is_file and is_image(path):
                found.images.append(path)
            else:
                found.unread.append(unread_file(path, is_file))
    found.images.sort()
    found.unread.sort(key=lambda unread: unread.path)
    return found


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder by name; raises OSError if it may not be listed, or not be entered."""
    with os.scandir(folder) as scan:
        os.stat(os.path.join(folder, "."))  # noqa: PTH116, PTH118  # pathlib drops the point
        return sorted(scan, key=lambda entry: entry.name)


def is_open(folder: Path) -> bool:
    """Whether there is a folder that may be listed and entered."""
    try:
        with os.scandir(folder):
            os.stat(os.path.join(folder, "."))  # noqa: PTH116, PTH118
    except OSError:
        return False
    return True


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False, and no error, where one above may not be entered."""
    return os.path.isdir(path)  # noqa: PTH112  # Path.is_dir raises there


def count_files(folder: Path) -> int:
    """Count the files below a folder, without following links; not beyond ten thousand."""
    every = (name for _, _, files in os.walk(folder) for name in files)
    return sum(1 for _ in islice(every, _MANY))


def _is_link(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() or (hasattr(entry, "is_junction") and entry.is_junction())


def _why_not_followed(real: str, top: str, seen: Collection[str]) -> str | None:
    """Say why a link to a folder is not followed; None if it is."""
    if _is_within(real, top):
        return "is a link to a folder that is searched without it"
    if _is_within(top, real):
        return "is a link to a folder around it, which has no end"
    return "is a link to a folder that another link leads to" if real in seen else None


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _unread_folder(path: Path) -> Unread:
    kind = "hidden" if path.name.startswith(".") else "folder of the system's"
    article = "" if kind == "hidden" else "a "
    return Unread(path, kind, f"is {article}{kind}", count_files(path), is_usual=True)


def unread_file(path: Path, is_file: bool) -> Unread:
    """Say why a file is not read that :func:`is_image` is not true of."""
    if not is_visible(path.name):
        return Unread(path, "hidden", "is hidden", is_usual=True)
    if not is_file and os.path.islink(path):  # noqa: PTH114  # of a path below a closed folder too
        return Unread(path, "link", "is a link to nowhere")
    if not is_file:
        return Unread(path, "no regular file", "is no regular file")
    suffix = path.suffix.lower()
    first_word = re.split(r"\W|_", path.name.lower())[0]
    if suffix in _NO_IMAGES or (not suffix and first_word in _TEXTS):
        kind = suffix or "text"
        return Unread(path, kind, "is no image by its name", is_usual=True)
    named = f"the suffix '{suffix}', which" if suffix else "no suffix, so it"
    reason = f"has {named} is not read; convert or rename it to .png"
    return Unread(path, suffix or "without suffix", reason)
