"""The pages for those who come from elsewhere name what is there, there and here."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

import mambaad
from mambaad.serve.api.lookout import lookout_of
from mambaad.serve.drawing import KeptMap

DOCS = Path(__file__).parents[2] / "docs"


def rows(page, heading):
    """The first cells of the table under a heading, and the second ones."""
    text = (DOCS / page).read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1]
    table = re.findall(r"^\|(.+?)\|(.+?)\|", text.split("\n## ", 1)[0], re.MULTILINE)
    return [(first.strip(), second.strip()) for first, second in table[2:]]


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


def flat(value, path=""):
    """The fields of an answer as the page writes them: ``Source.Type``, ``Anomalies[].Name``."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from flat(child, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for child in value:
            yield from flat(child, f"{path}[]")
    else:
        yield path


def test_the_fields_of_lookout_are_those_of_the_answer():
    regions = np.zeros((8, 8), bool)
    regions[2:4, 2:4] = True
    row = {"verdict": "FAIL", "record": {"p_value": 0.01}}
    kept = KeptMap(np.zeros((8, 8), np.float32), regions, (0.0, 1.0))
    answer = lookout_of(row, kept)["DetectAnomalyResult"]
    listed = [
        name for first, _ in rows("from_lookout.md", "`DetectAnomalies`") for name in names(first)
    ]
    assert set(listed) == set(flat(answer))


def test_the_fields_of_predictions_exist():
    fields = {field.name for field in dataclasses.fields(mambaad.Prediction)}
    for _, ours in rows("from_anomalib.md", "Fields of a result"):
        for name in names(ours):
            if name.isidentifier():
                assert name in fields, name


def test_the_fields_of_anomalib_exist():
    data = pytest.importorskip("anomalib.data")
    fields = {field.name for field in dataclasses.fields(data.ImageBatch)}
    for theirs, _ in rows("from_anomalib.md", "Fields of a result"):
        for name in names(theirs):
            assert name in fields, name
