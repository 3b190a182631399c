"""Every row of the tables on how files and masks are read names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent
PAGE = (FOLDER.parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")


def test_every_row_is_backed_by_tests() -> None:
    section = PAGE.split("## How files are read")[1].split("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[-2].strip() != "test"]
    assert len(rows) > 30
    source = "\n".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("test_*.py"))
    for row in rows:
        names = re.findall(r"`(test_\w+)`", row[-2])
        assert names, row
        for name in names:
            assert f"def {name}(" in source, name
