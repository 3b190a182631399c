"""CSV that no spreadsheet takes for formulas."""

import csv
import io

import pytest

from mambaad.workflows.csv_text import csv_text


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" =1", "' =1"),
        ("\t=1", r"\t=1"),
        ("\r=1", r"\r=1"),
        ("a\nb\x1b", r"a\nb\x1b"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ('a,"b"', 'a,"b"'),
        ("bolt=1", "bolt=1"),
        ("-0.5", "-0.5"),
        (-0.5, "-0.5"),
        (None, ""),
        ("", ""),
    ],
)
def test_a_cell(given, written):
    text = csv_text([["name", "value"], [given, 1]])
    assert list(csv.reader(io.StringIO(text))) == [["name", "value"], [written, "1"]]
