"""Snapshots: the files of one generation, whatever is written meanwhile, and none that changed."""

import hashlib
import json
import os
import shutil
import threading

import numpy as np
import pytest

import mambaad
from mambaad.artifacts.generations import commit
from mambaad.artifacts.manifest import CONFIG, LOG, MANIFEST, VERSION, WEIGHTS
from mambaad.artifacts.snapshot import Snapshot, opened
from mambaad.errors import RunError
from tests.runs import change_tensors, digest, read, stored, tensors

FIRST = {VERSION: [b'{"run format": "2"}'], CONFIG: [b"{}"]}
SIZE = 100_000


def model(number):
    return {WEIGHTS: [bytes([number]) * SIZE], LOG: [b"%d\n" % number]}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    commit(folder, {**FIRST, **model(0)})
    return folder


def test_what_was_opened_stays(run):
    with opened(run) as snapshot:
        commit(run, model(1))
        assert bytes(snapshot.read(LOG)) == b"0\n"
        assert snapshot.read(WEIGHTS) == bytes(SIZE)
        assert snapshot.digest(WEIGHTS) == hashlib.sha256(bytes(SIZE)).hexdigest()
        shutil.rmtree(run)
        assert snapshot.read(WEIGHTS) == bytes(SIZE)


@pytest.mark.parametrize("how", ["commits", "renamed folders", "a changed link"])
def test_under_constant_replacement_all_is_of_one_model(run, tmp_path, how):
    stop = threading.Event()
    second = shutil.copytree(run, tmp_path / "second")
    commit(second, {CONFIG: [b"[]"], **model(1)})  # another file of the same name and size
    link = tmp_path / "link"
    link.symlink_to(run)

    def replace():
        number = 0
        while not stop.is_set():
            number += 1
            if how == "commits":
                commit(run, model(number % 3))
            elif how == "renamed folders":
                run.rename(tmp_path / "aside")
                second.rename(run)
                (tmp_path / "aside").rename(second)
            else:
                (tmp_path / "new").symlink_to(second if number % 2 else run)
                (tmp_path / "new").replace(link)

    thread = threading.Thread(target=replace)
    thread.start()
    seen = set()
    try:
        for _ in range(200):
            with opened(link if how == "a changed link" else run) as snapshot:
                weights, log = snapshot.read(WEIGHTS), bytes(snapshot.read(LOG))
                assert weights == bytes([int(log)]) * SIZE
                assert snapshot.digest(WEIGHTS) == hashlib.sha256(weights).hexdigest()
                if how != "commits":
                    assert snapshot.read(CONFIG) == (b"[]" if int(log) else b"{}")
                seen.add(log)
    finally:
        stop.set()
        thread.join()
    assert len(seen) > 1


def test_the_records_model_is_what_was_computed_with(trained_run, parts, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    image = next((parts / "nut" / "test" / "good").iterdir())
    weights, _ = tensors(run)
    name = next(n for n, w in weights.items() if "decoder" in n and w.ndim > 1)
    scores = {}
    for factor in (1, 2):
        change_tensors(run, WEIGHTS, {**weights, name: factor * weights[name]})
        scores[digest(run)] = mambaad.Inspector(run).inspect(image).score
    assert len(set(scores.values())) == 2
    inspector = mambaad.Inspector(run)
    change_tensors(run, WEIGHTS, weights)
    assert inspector.weights != digest(run)
    assert inspector.inspect(image).score == scores[inspector.weights]


def test_a_file_that_vanished_is_named(run):
    stored(run).unlink()
    with pytest.raises(RunError, match=r"weights-\w+\.safetensors does not exist, which .*lists"):
        read(Snapshot.verify, run)


def test_that_a_file_may_not_be_read_is_said(run, monkeypatch):
    real = os.open

    def refused(path, *arguments, **named):
        if "weights" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(RunError, match=r"weights-.* cannot be read \(Permission denied\); ask"):
        read(Snapshot.verify, run)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX pipes")
@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, MANIFEST])
def test_a_pipe_is_not_waited_for(run, name):
    path = run / MANIFEST if name == MANIFEST else stored(run, name)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RunError, match="it is no regular file"):
        read(Snapshot.verify, run)


def test_a_run_whose_manifest_is_gone_is_none_of_a_former_version(run):
    (run / MANIFEST).unlink()
    with pytest.raises(RunError, match=r"has no manifest\.json: restore it from a copy"):
        read(Snapshot.verify, run)


def test_whatever_changes_in_a_manifest_nothing_else_is_accepted(run):
    random = np.random.default_rng(0)
    path = run / MANIFEST
    sound = path.read_bytes()
    expected = json.loads(sound)["files"]
    accepted = 0
    for _ in range(400):
        text = bytearray(sound)
        for place in random.integers(len(text), size=random.integers(1, 3)):
            text[place] = random.choice(list(b'0123456789abcdef"{}[],: -./e'))
        path.write_bytes(text)
        try:
            with opened(run) as snapshot:
                snapshot.verify()
                found = {name: snapshot.digest(name) for name in expected if snapshot.has(name)}
        except RunError:
            continue
        accepted += 1
        assert all(expected[name]["sha256"] == sha256 for name, sha256 in found.items())
    assert 0 < accepted < 100  # such as another number of the generation


@pytest.mark.parametrize(
    "file",
    [
        "../run/config.json",
        "/etc/passwd",
        "weights.safetensors/",
        "",
        "log.jsonl",
        "x-0.safetensors",
    ],
)
def test_a_manifest_names_no_files_elsewhere(run, file):
    manifest = json.loads((run / MANIFEST).read_text())
    manifest["files"][WEIGHTS]["file"] = file
    (run / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"manifest\.json is damaged"):
        read(Snapshot.verify, run)
