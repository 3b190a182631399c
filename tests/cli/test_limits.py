"""Numbers at and beyond their limits: one line, and nothing is written."""

import pytest

from tests.cli.test_refusals import run_without_torch

HUGE = "9" * 5000
ODD = ("nan", "inf", "-1", HUGE)
# Options, with what is outside their range besides ODD; all are refused before PyTorch is loaded.
OPTIONS = {
    "train {parts} --out {out}/run": {
        "--epochs": ("0", "0.5", "9" * 30),
        "--batch-size": ("0", "9" * 30),
        "--lr": ("0", "-1e-320"),
        "--trim": ("0.5", "1e308"),
        "--holdout": ("1", "1e308"),
        "--seed": ("4294967296",),
        "--devices": ("0", "9" * 30),
        "--directions": ("3", "9" * 30),
        "--max-pixels": ("0", "9" * 30),
        "--bit-depth": ("9", "9" * 30),
        "--float-range": ("1,0", "0,nan", "0,1e999"),
        "--size": ("0", "1e3", "9" * 30),
    },
    "calibrate {run} {parts}": {
        "--target-fpr": ("0", "1", "1e-320", "1e308"),
        "--review-fpr": ("0", "1", "1e-320", "1e308"),
        "--cross-fit": ("1", "0"),
    },
    "make-data {out}/data --classes fabric": {
        "--train": ("0", "1", "9" * 30),
        "--test": ("9" * 30,),
        "--size": ("0", "33", "9" * 30),
        "--difficulty": ("1.1", "1e308"),
    },
    "data suspects {parts} --out {out}/page.html": {"--share": ("0", "1", "1e308")},
}


@pytest.mark.parametrize("command", OPTIONS)
def test_numbers_outside_their_range(parts, trained_run, tmp_path, command):
    places = {"parts": parts, "run": trained_run, "out": tmp_path}
    words = command.format(**places).split()
    cases = [
        (option, value)
        for option, outside in OPTIONS[command].items()
        for value in (*ODD, *outside)
    ]
    found = run_without_torch([[*words, f"{option}={value}"] for option, value in cases])
    for (option, value), (code, out, err) in zip(cases, found, strict=True):
        assert code in (1, 2), (option, value[:40], code, err)
        assert out == "", (option, value[:40])
        assert len(err) < 1000 or value == HUGE, (option, value[:40], err[:200])
        assert "Traceback" not in err, (option, value[:40])
    assert list(tmp_path.iterdir()) == []
