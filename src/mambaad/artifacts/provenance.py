"""Where a bundle comes from: the revision of the checkout that made it."""

from __future__ import annotations

import subprocess
from importlib.resources import files
from pathlib import Path


def git_revision(package: Path | None = None) -> str | None:
    """Find the commit of the checkout that tracks a package; None if it was installed.

    Args:
        package: the package's folder; this package's if None. A checkout tracks it if it tracks
            its ``__init__.py``.
    """
    package = package or Path(str(files("mambaad")))
    try:
        for command in (("ls-files", "--error-unmatch", "__init__.py"), ("rev-parse", "HEAD")):
            output = subprocess.run(
                ["git", "-C", str(package), *command],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            )
    except (OSError, subprocess.SubprocessError):
        return None
    return output.stdout.strip()
