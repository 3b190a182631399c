"""The classes of a data set that a model is tested on."""

from __future__ import annotations

from pathlib import Path

from mambaad.data.depth import with_reading
from mambaad.data.inventory import note_labels
from mambaad.data.layouts import class_names
from mambaad.data.parts import Parts
from mambaad.data.unread import list_data
from mambaad.errors import DataError
from mambaad.inspection.inspector import Inspector
from mambaad.progress import say
from mambaad.types import ProductClass


def tested_classes(
    inspector: Inspector, data: Path | Parts, skip_unreadable: bool
) -> list[ProductClass]:
    """List the test images of the classes that a model was trained on, and say what is left out.

    Raises:
        DataError: there are none.
    """
    layout, classes = inspector.config.layout, None
    if isinstance(data, Parts):
        classes = data.classes(
            split="test", reading=inspector.reading, skip_unreadable=skip_unreadable
        )
        available = [c.name for c in classes]
    elif inspector.products and data.is_dir():
        available = class_names(data, split="test", layout=layout)
    else:
        available = []
    wanted = [name for name in available if name in inspector.products or not inspector.products]
    if available and not wanted:
        raise DataError(
            f"{data} has none of the classes that the model was trained on, "
            f"{', '.join(inspector.products)}; give their test images"
        )
    for name in available:
        if name not in wanted:
            say(f"{name}: skipped, the model was not trained on it")
    for name in inspector.products:
        if available and name not in available:
            say(f"{name}: missing from {data}, so the mean is without it")
    if isinstance(data, Path):
        classes = list_data(
            data, wanted or None, split="test", layout=layout, skip_unreadable=skip_unreadable
        )
        classes = with_reading(classes, inspector.reading)
    assert classes is not None
    classes = [c for c in classes if c.name in wanted or not wanted]
    tested = [c for c in classes if c.test]
    for c in classes:
        if not c.test:
            say(f"{c.name}: skipped, it has no test images")
            continue
        for line in note_labels(c):
            say(line)
    if not tested:
        raise DataError(f"{data} has no test images; see docs/datasets.md")
    return tested
