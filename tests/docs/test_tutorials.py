"""Every tutorial does what it says: its blocks run as written, one after the other."""

import re
import shlex
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import mambaad_command  # noqa: F401
from tests.serve.killing import Served

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
SERVICE = "http://127.0.0.1:8000"


class Reader:
    """Someone who types a tutorial's blocks, in a folder."""

    def __init__(self, folder, command):
        self.folder, self.command = folder, command
        self.scope = {}
        self.service = None
        self.printed = []

    def follow(self, page):
        text = (TUTORIALS / page).read_text(encoding="utf-8")
        for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            if language == "python":
                exec(compile(block, page, "exec"), self.scope)
            elif language == "yaml":
                (self.folder / "plan.yaml").write_text(block)
            elif language == "sh":
                for line in block.splitlines():
                    self._type(line)

    def _type(self, line):
        program, *arguments = shlex.split(line)
        if line.startswith("mambaad serve "):
            self.service = Served(self.folder / arguments[1], self.folder / "kept")
        elif program == "mambaad":
            code, out, err = self.command(*arguments)
            assert code == 0, f"{line}: {err}"
            self.printed.append(out)
        else:
            assert program == "curl", line
            typed = [each.replace(SERVICE, self.service.url) for each in arguments]
            done = subprocess.run(["curl", *typed], capture_output=True, text=True, check=True)
            self.printed.append(done.stdout)

    def leave(self):
        if self.service is not None:
            assert self.service.stop() in (0, 130, -signal.SIGINT)


@pytest.fixture
def reader(tmp_path, monkeypatch, mambaad_command):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    reader = Reader(tmp_path, mambaad_command)
    yield reader
    reader.leave()


def test_the_inspection_engineers(reader):
    reader.follow("inspection_engineer.md")
    *_, verdicts, _bundle, _inspected, answer, _again, drift = reader.printed
    assert "screw" in verdicts
    assert '"serial":"A-1042"' in answer.replace(" ", "")
    assert "screw" in drift
    assert Path("page", "index.html").exists()
    assert Path("results", "predictions.csv").exists()
    service = httpx.get(f"{reader.service.url}/v1/inspections").json()
    assert len(service["items"]) == 1


def test_the_ml_engineers(reader):
    reader.follow("ml_engineer.md")
    # After each epoch its figures; and a dent that is found where it was drawn.
    assert [epoch for epoch, *_ in reader.scope["curve"]] == [1, 2, 3, 4]
    prediction, mask = reader.scope["prediction"], reader.scope["mask"]
    top = prediction.anomaly_map.argmax()
    rows, columns = mask.nonzero()
    row, column = divmod(int(top), prediction.anomaly_map.shape[1])
    assert abs(row - rows.mean()) < 12
    assert abs(column - columns.mean()) < 12
    assert len(reader.scope["scores"]) == 8
    assert Path("washers.mambaad").stat().st_size > 0


def test_the_researchers(reader):
    reader.follow("researcher.md")
    table = Path("comparison", "results.md").read_text()
    for system in ("MambaAD", "no local branches", "VSSD"):
        assert system in table
    assert Path("soft").is_dir()
