"""Commits: whole or not at all, whatever happens between two of their steps."""

import json
import os
from pathlib import Path

import pytest

from mambaad.artifacts.generations import commit
from mambaad.artifacts.manifest import (
    CALIBRATION,
    CHECKPOINT,
    CONFIG,
    LOG,
    MANIFEST,
    VERSION,
    WEIGHTS,
    is_former,
)
from mambaad.artifacts.snapshot import Snapshot, opened
from mambaad.errors import RunError
from tests.runs import as_former, content, has, plain_names, read, stored

FIRST = {VERSION: [b'{"run format": "2"}'], CONFIG: [b"{}"]}
OLD = {WEIGHTS: [b"old ", b"weights"], LOG: [b"1\n"], CHECKPOINT: [b"old state"]}
NEW = {WEIGHTS: [b"new weights"], LOG: [b"1\n2\n"], CALIBRATION: [b"thresholds"]}


class Killed(BaseException):
    """What ends the process, as far as the code can tell."""


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    commit(folder, FIRST)
    commit(folder, OLD)
    return folder


def contents(run):
    with opened(run) as snapshot:
        return {name: bytes(snapshot.read(name)) for name in snapshot.names()}


def joined(files):
    return {name: b"".join(parts) for name, parts in files.items()}


BEFORE = joined({**FIRST, **OLD})
AFTER = joined({**FIRST, **NEW})


def test_a_commit_changes_its_files_together(run):
    assert contents(run) == BEFORE
    commit(run, NEW, removed=[CHECKPOINT, CALIBRATION + "x"])
    assert contents(run) == AFTER
    assert plain_names(run) == {*AFTER, MANIFEST}
    assert json.loads((run / MANIFEST).read_text())["generation"] == 3


def test_what_is_as_it_was_is_not_written(run):
    path = stored(run)
    before = path.stat()
    commit(run, {WEIGHTS: [b"old weights"], LOG: [b"2\n"]})
    assert path.stat() == before
    manifest = (run / MANIFEST).stat()
    commit(run, {WEIGHTS: [b"old weights"]})
    assert (run / MANIFEST).stat() == manifest


@pytest.mark.parametrize("function", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.unlink"])
@pytest.mark.parametrize("is_after", [False, True])
def test_a_kill_at_any_step_leaves_the_one_or_the_other_generation(
    run, monkeypatch, function, is_after
):
    steps = 0
    is_done = False
    while not is_done:
        steps += 1
        with monkeypatch.context() as patched:
            kill_at(patched, function, steps, is_after)
            try:
                commit(run, NEW, removed=[CHECKPOINT])
                is_done = True
            except Killed:
                pass
        found = contents(run)
        assert found in (BEFORE, AFTER)
        commit(run, {}, [CALIBRATION])  # the next one leaves nothing over
        assert plain_names(run) == {*found, MANIFEST} - {CALIBRATION}
        commit(run, OLD)
    assert steps > 3


def kill_at(patched, function, step, is_after):
    module, name = (os, "fsync") if function == "os.fsync" else (Path, function.split(".")[-1])
    real, calls = getattr(module, name), []

    def killed(*arguments, **named):
        calls.append(None)
        if len(calls) == step and not is_after:
            raise Killed
        try:
            return real(*arguments, **named)
        finally:
            if len(calls) == step:
                raise Killed

    patched.setattr(module, name, killed)


def test_a_full_disk_is_one_line_and_leaves_the_run(run, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="cannot be written \\(No space left on device\\)"):
            commit(run, NEW)
    assert contents(run) == BEFORE


def test_a_damaged_manifest_is_not_written_over(run):
    for text in ("", "{}", '{"format": 2}', '{"format": 1, "generation": 1, "files": {}, "x": 1}'):
        (run / MANIFEST).write_text(text)
        with pytest.raises(RunError, match=r"manifest\.json (is damaged|has format 2)"):
            commit(run, NEW)
        assert (run / MANIFEST).read_text() == text


def test_others_files_stay(run):
    (run / "notes-0123456789ab.txt").write_text("mine")
    (run / "weights-final.safetensors").write_text("mine")
    commit(run, NEW)
    assert (run / "notes-0123456789ab.txt").exists()
    assert (run / "weights-final.safetensors").exists()


def test_a_run_of_a_former_version_gets_a_manifest_by_the_next_commit(run, capsys):
    as_former(run)
    assert is_former(run)
    assert plain_names(run) == set(BEFORE)
    for _ in range(2):
        assert contents(run) == {**BEFORE, VERSION: b"{}"}
    assert capsys.readouterr().err.count("made by a former version of mambaad") == 1
    commit(run, {LOG: [b"1\n2\n"]})
    assert not is_former(run)
    assert has(run, WEIGHTS)
    assert read(Snapshot.json, run, VERSION) == {"run format": "2"}
    assert content(run, LOG) == b"1\n2\n"
    assert stored(run) == run / WEIGHTS  # it was not written again
    assert plain_names(run) == {*BEFORE, MANIFEST}
    (run / MANIFEST).unlink()  # then it is none of a former version any more
    with pytest.raises(RunError, match=r"has no manifest\.json"):
        contents(run)
