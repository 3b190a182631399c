"""``mambaad inspect`` as it is typed; what it does is tested in tests/workflows."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest


@pytest.fixture
def images(many_parts: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for kind, name in (("good", "000.png"), ("spot", "000.png"), ("spot", "001.png")):
        content = (many_parts / "nut" / "test" / kind / name).read_bytes()
        (folder / f"{kind}-{name}").write_bytes(content)
    return folder


def test_a_job_with_its_page(mambaad_command, calibrated_run, images, tmp_path):
    arguments = ("inspect", calibrated_run, images, "--out", tmp_path / "out", "--workers", 1)
    page, junit = tmp_path / "page", tmp_path / "junit.xml"
    code, out, err = mambaad_command(
        *arguments, "--report", page, "--sample", 2, "--junit", junit, "--class", "nut"
    )
    lines = out.splitlines()
    assert lines[0] == f"3 images: {tmp_path / 'out'}"
    counts = dict(line.rsplit(maxsplit=1) for line in lines[1:] if not line.startswith("report"))
    assert sum(map(int, counts.values())) == 3
    assert code == int(bool(set(counts) - {"PASS", "REVIEW"})), err
    html = (page / "index.html").read_text()
    assert "Below: 2 of them, the worst flagged ones and others by chance." in html
    assert f"3 images: {', '.join(f'{counts[name]} {name}' for name in counts)}." in html
    assert len(list((page / "pictures").glob("??????.jpg"))) == 2
    root = ElementTree.parse(junit).getroot()
    assert root.get("tests") == "3"
    assert root.get("failures") == counts.get("FAIL", "0")

    code, _, err = mambaad_command(*arguments)
    assert code == 1
    assert err == (
        f"mambaad: {tmp_path / 'out'} has the results of a job already; go on with it by --resume, "
        "or give another --out\n"
    )


def test_arguments_that_are_refused(mambaad_command, trained_run, images, tmp_path):
    for options, message in (
        (("--executor", "threads"), "--executor: expected processes or ray, got 'threads'"),
        (("--ray-address", "auto"), "--ray-address is for --executor ray"),
        (("--class", "wheel"), "--class: the model was not trained on 'wheel'"),
        (("--image-seconds", "0"), "--image-seconds: expected more than 0, got 0"),
        (("--store-seconds", "-1"), "--store-seconds: expected 0 or more, got -1"),
        (("--junit", tmp_path / "j.xml"), "has no calibration"),
    ):
        code, _, err = mambaad_command(
            "inspect", trained_run, images, "--out", tmp_path / "out", *options
        )
        assert code == 1
        assert message in err
        assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
