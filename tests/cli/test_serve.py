"""``mambaad serve``: its users, its audit trail, and what it refuses."""

import io
import sqlite3
import subprocess
import sys

import pytest
from sqlalchemy import text

from mambaad.serve.store.store import Store
from tests.serve.rows import add


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


def open_store(data):
    return Store(data, f"sqlite:///{data / 'store.sqlite'}")


def test_users_are_added_listed_and_removed(mambaad_command, data, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    code, out, _ = mambaad_command("serve", "user", "add", "anna", "--data", data)
    assert (code, out) == (0, "anna is reviewer\n")
    assert "anna  reviewer" in mambaad_command("serve", "user", "list", "--data", data)[1]
    assert mambaad_command("serve", "user", "remove", "anna", "--data", data)[0] == 0
    assert mambaad_command("serve", "user", "list", "--data", data)[1] == "no users\n"
    code, _, err = mambaad_command("serve", "user", "remove", "anna", "--data", data)
    assert (code, err) == (1, "mambaad: there is no user anna\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["anna", "--role", "boss"], "--role: expected one of"), (["a\nb"], "NAME: expected")],
)
def test_wrong_users_are_refused(mambaad_command, data, arguments, message):
    code, _, err = mambaad_command("serve", "user", "add", *arguments, "--data", data)
    assert code == 1
    assert message in err
    assert len(err.splitlines()) == 1


def test_verify_names_what_was_changed(mambaad_command, data):
    store = open_store(data)
    add(store)
    head = store.verify().head
    store.close()
    code, out, _ = mambaad_command("serve", "verify", "--data", data, "--head", head)
    assert (code, out) == (0, f"2 rows hold; the last hash is {head}\n")
    store = open_store(data)
    store.write(lambda c: c.execute(text("UPDATE inspection SET verdict = 'FAIL'"))).result(20)
    store.close()
    code, out, err = mambaad_command("serve", "verify", "--data", data)
    assert code == 3
    assert "row 2 of the trail: inspection" in err
    code, _, err = mambaad_command("serve", "verify", "--data", data / "x")
    assert code == 1
    assert "there is no store" in err


@pytest.mark.parametrize(
    "command",
    [
        ["serve", "verify"],
        ["serve", "user", "list"],
        ["serve", "user", "remove", "anna"],
        ["serve", "export", "out"],
        ["recalibrate", "x.mambaad", "--out", "y.mambaad"],
    ],
)
@pytest.mark.parametrize("kind", ["folder", "empty", "unreachable"])
def test_a_store_that_is_not_there_is_one_line_and_stays_so(
    mambaad_command, data, monkeypatch, tmp_path, command, kind
):
    monkeypatch.chdir(tmp_path)
    data.mkdir()
    (data / "review.secret").write_bytes(bytes(32))
    options = []
    if kind == "unreachable":
        options = ["--database", "postgresql://x@/y?host=/nowhere&connect_timeout=1"]
    elif kind == "empty":
        options = ["--database", f"sqlite:///{tmp_path / 'empty.sqlite'}"]
        sqlite3.connect(tmp_path / "empty.sqlite").close()
        (tmp_path / "empty.sqlite").touch()
    before = sorted(tmp_path.rglob("*"))
    code, _, err = mambaad_command(*command, "--data", data, *options)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "sqlalche" not in err
    assert {"folder": "no store in", "empty": "no store", "unreachable": "--database"}[kind] in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a bundle"),
        (["x.mambaad", "--mode", "fast"], "--mode"),
        (["--registry", "r"], "--registry and --line go together"),
        (["x.mambaad", "--host", "0.0.0.0"], "--token-file"),
        (["x.mambaad", "--database", "mysql://x"], "--database"),
        (["x.mambaad", "--watch", "nowhere"], "--watch"),
    ],
)
def test_a_service_that_cannot_start_says_so_in_a_line(mambaad_command, data, arguments, message):
    code, _, err = mambaad_command("serve", "run", *arguments, "--data", data)
    assert code == 1
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_folder_in_use_is_refused(data):
    store = open_store(data)
    program = "from mambaad.cli.app import main; main()"
    command = [sys.executable, "-c", program, "serve", "user", "list", "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    store.close()
    assert done.returncode == 1
    assert "another mambaad process" in done.stderr


def test_recalibrate_takes_parts_since_a_time(mambaad_command, data, monkeypatch):
    taken = []
    open_store(data).close()
    (data / "review.secret").write_bytes(bytes(32))
    command = ("recalibrate", "x.mambaad", "--out", "y.mambaad", "--data", data, "--since")
    code, _, err = mambaad_command(*command, "noon")
    assert (code, len(err.splitlines())) == (1, 1)
    assert "--since: expected a time such as" in err

    def read(_, **wanted):
        taken.append(wanted["since"])
        return []

    monkeypatch.setattr("mambaad.serve.review.stored.reviewed_parts", read)
    mambaad_command(*command, "2026-01-31T13:00:00+01:00")
    assert taken == ["2026-01-31T12:00:00.000Z"]
