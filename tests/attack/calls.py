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


def inspect_repeatedly(source: str, image: str, times: str, out: str) -> None:
    """Load a model again and again, and write what it says of an image, or why it is refused."""
    import json

    from mambaad.errors import MambaADError
    from mambaad.inspection.inspector import Inspector

    with Path(out).open("w") as file:
        for _ in range(int(times)):
            try:
                inspector = Inspector(source)
                found = inspector.inspect(image, CLASSES[0])
            except MambaADError as error:
                print(json.dumps({"refused": str(error)}), file=file)
                continue
            answer = {
                "model": inspector.weights,
                "score": found.score,
                "verdict": str(found.verdict),
                "p_value": found.p_value,
                "range": found.heatmap_range,
            }
            print(json.dumps(answer), file=file)
