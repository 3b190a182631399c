"""What to do about files that cannot be read or written: the advice fits what the system says."""

from __future__ import annotations

import errno
from pathlib import Path

from mambaad.errors import RunError

_LIMIT = "close some files, or raise the limit (ulimit -n)"
_TO_WRITE = {
    errno.EEXIST: "move it away, or choose another path",
    errno.ENOSPC: "free some space, or choose another path",
    errno.EDQUOT: "free some space of your quota, or choose another path",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), or choose another disk",
    errno.ENOENT: "create its folder, or choose another path",
    errno.EACCES: "ask for the permission to write there, or choose another path",
    errno.EPERM: "ask for the permission to write there, or choose another path",
    errno.EROFS: "choose a path that is not read-only",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: _LIMIT,
    errno.ENFILE: _LIMIT,
    errno.EIO: "check the disk, or choose another one",
}
_TO_READ = {
    errno.EACCES: "ask for the permission to read it",
    errno.EPERM: "ask for the permission to read it",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.ELOOP: "check the path, whose links lead to each other",
    errno.ENAMETOOLONG: "check the path",
    errno.EISDIR: "give a file",
    errno.EINVAL: "give a file",
    errno.EFBIG: "give a smaller file",
    errno.EMFILE: _LIMIT,
    errno.ENFILE: _LIMIT,
    errno.EIO: "check the disk, or copy it again",
}


def cannot_write(path: str | Path, error: OSError) -> RunError:
    """Make the error of what cannot be written, which says why and what to do.

    Args:
        path: of the file or folder, perhaps after the flag that gave it.
        error: the system's.
    """
    advice = _TO_WRITE.get(error.errno or 0, "choose another path")
    return RunError(f"{path} cannot be written ({reason(error)}); {advice}")


def cannot_read(path: str | Path, error: OSError, otherwise: str = "check it") -> str:
    """Say in a line that something cannot be read, why, and what to do.

    Args:
        path: of the file or folder, perhaps after the flag that gave it.
        error: the system's.
        otherwise: what to do about errors that say nothing about it.
    """
    advice = _TO_READ.get(error.errno or 0, otherwise)
    return f"{path} cannot be read ({reason(error)}); {advice}"


def reason(error: OSError) -> str:
    """Return what the system says, without number and path."""
    return error.strerror or str(error)
