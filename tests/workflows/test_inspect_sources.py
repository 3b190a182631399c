"""What ``mambaad inspect`` refuses to list."""

from __future__ import annotations

import pytest

from mambaad.errors import ConfigError, DataError
from tests.workflows.test_inspect import job


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name\na.png\n", "has the columns name, expected 'path' among them"),
        ("path\n", "lists no images"),
        ('path,size\n"",3\n', "row 1: it has no path"),
        ("path,size\na.png,large\n", "cannot be read as a manifest"),
    ],
)
def test_manifests_that_are_refused(trained_run, tmp_path, content, message):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        job(trained_run, [tmp_path / "list.csv"], tmp_path / "out")
    assert not (tmp_path / "out" / "job.json").exists()


def test_sources_that_are_not_there(trained_run, tmp_path):
    for source, message in (
        (tmp_path / "gone", "does not exist"),
        (tmp_path / "*.png", "matches nothing"),
        (tmp_path / "gone.csv", "cannot be read"),
        (tmp_path, "no images"),
    ):
        with pytest.raises(DataError, match=message):
            job(trained_run, [source], tmp_path / "out")
    with pytest.raises(ConfigError, match="is no store that can be opened"):
        job(trained_run, ["nowhere://images"], tmp_path / "out")
