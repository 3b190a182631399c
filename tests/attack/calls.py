"""Functions of the package by which a file is read, called in the place of a command.

Where the command would go on to something that takes long, or would read further files first.
"""

from __future__ import annotations

from pathlib import Path

from tests.attack.workshop import CLASSES


def read_plan(path: str) -> None:
    from mambaad.workflows.benchmark.plan import read_plan as read

    print(len(read(Path(path)).jobs()))


def read_products(path: str) -> None:
    from mambaad.inspection.product_settings import read_product_settings as read

    print(sorted(read(Path(path), CLASSES, (64, 64))))


def leave_out(path: str, data: str) -> None:
    from mambaad.data.exclusion import leave_out as leave
    from mambaad.data.exclusion import read_exclusions
    from mambaad.data.layouts import read_data

    root = Path(data)
    left = leave(read_data(root), root, read_exclusions(path, root))
    print([len(c.train) for c in left])


def read_image(path: str) -> None:
    """As training, evaluation and prediction read it; 16 bits, as their number must be said."""
    from mambaad.data.images import read_image as read
    from mambaad.types import Reading

    print(read(Path(path), Reading(bit_depth=16)).shape)
