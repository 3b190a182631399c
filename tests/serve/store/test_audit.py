"""The audit trail: its formula, and that nothing can be changed unseen."""

import hashlib
import json
import re
from dataclasses import replace

import pytest
from sqlalchemy import text

from mambaad.serve.store import audit
from mambaad.serve.store.rows import digest_of
from mambaad.serve.store.store import Store
from tests.serve.rows import add, new_rows

VERDICTS = ("PASS", "FAIL", "REVIEW", "BAD IMAGE", "UNKNOWN PRODUCT")


@pytest.fixture
def filled(store: Store) -> Store:
    first, second, _ = add(store, "REVIEW"), add(store, "FAIL"), add(store, "PASS")
    store.decide(first, "good", actor="anna").result(20)
    store.decide(second, "unsure", actor="anna").result(20)
    store.put_setting("bolt", {"a": 1}, actor="anna").result(20)
    store.put_user("anna", "viewer", "hash", actor="test").result(20)
    store.put_user("ben", "viewer", "hash", actor="test").result(20)
    store.remove_user("ben", actor="test").result(20)
    store.add_bundle_use("start", 1, "d" * 64, actor="test").result(20)
    return store


def change(store: Store, statement: str) -> None:
    changed = store.write(lambda c: c.execute(text(statement)).rowcount)
    assert changed.result(20)


def test_each_hash_is_that_of_the_one_before_and_the_row(filled):
    with filled.engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM audit ORDER BY seq")).mappings().all()
        decided = connection.execute(text("SELECT * FROM decision ORDER BY id")).mappings().first()
    before = "0" * 64
    for row in rows:
        content = {k: v for k, v in row.items() if k != "hash"}
        line = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert row["hash"] == hashlib.sha256((before + line).encode()).hexdigest()
        before = row["hash"]
    of_decision = next(row for row in rows if row["kind"] == "decision")
    line = json.dumps(dict(decided), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert of_decision["content"] == hashlib.sha256(line.encode()).hexdigest()
    found = filled.verify()
    assert (found.rows, found.head, found.problem) == (len(rows), before, None)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE decision SET decision = 'defective'", "row 7 of the trail: decision .* changed"),
        ("UPDATE inspection SET verdict = 'PASS'", "row 2 of the trail: inspection .* changed"),
        ("UPDATE part SET serial = 'x'", "row 1 of the trail: part .* changed"),
        ("DELETE FROM bundle_use", "row 13 of the trail: bundle_use .* removed"),
        ("UPDATE audit SET actor = 'x' WHERE seq = 3", "row 3 of the trail was changed"),
        ("DELETE FROM audit WHERE seq = 4", "row 4 of the trail is missing"),
        ("UPDATE setting SET content = '{}'", "setting bolt is not as the trail says"),
        ("UPDATE user_account SET role = 'engineer'", "user_account anna is not as"),
        ("DELETE FROM user_account", "user_account anna is not as"),
        ("DELETE FROM audit WHERE kind = 'bundle_use'", "bundle_use .* is not in the trail"),
        ("UPDATE review SET decision = 'good'", "the review of inspection .* is not as its dec"),
        ("UPDATE review SET is_open = true", "the review of inspection .* is not as its dec"),
        ("UPDATE review SET decision_id = NULL", "the review of inspection .* is not as its dec"),
        ("UPDATE review SET reason = 'sample'", "the review of inspection .* is not as its dec"),
        ("DELETE FROM review", "the review of inspection .* is not as its dec"),
        (
            "INSERT INTO review (inspection_id, reason, is_open, differs) SELECT id, 'sample', "
            "true, false FROM inspection WHERE id NOT IN (SELECT inspection_id FROM review)",
            "the review of inspection .* is not as its dec",
        ),
    ],
)
def test_a_change_is_found(filled, statement, problem):
    change(filled, statement)
    assert re.match(problem, filled.verify().problem)


def test_a_row_with_a_new_hash_breaks_the_next(filled):
    with filled.engine.connect() as connection:
        row = dict(connection.execute(text("SELECT * FROM audit WHERE seq = 3")).mappings().one())
    del row["hash"]
    row["actor"] = "x"
    line = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256((row["previous"] + line).encode()).hexdigest()
    change(filled, f"UPDATE audit SET actor = 'x', hash = '{digest}' WHERE seq = 3")
    assert "row 4 of the trail does not follow row 3" in filled.verify().problem


def test_a_cut_off_end_needs_a_witness(filled):
    head = filled.verify().head
    assert filled.verify(head).problem is None
    last = add(filled)
    assert filled.verify(head).problem is None  # it may have grown
    witness = filled.verify().head
    for statement in (
        f"DELETE FROM inspection WHERE id = '{last}'",
        "DELETE FROM part WHERE id NOT IN (SELECT part_id FROM inspection)",
        "DELETE FROM audit WHERE seq > 13",
    ):
        change(filled, statement)
    assert filled.verify().problem is None
    assert "cut off" in filled.verify(witness).problem


def test_what_is_derived_is_right_after_every_decision(store):
    parts = [
        add(store, verdict, sampled=sampled) for verdict in VERDICTS for sampled in (False, True)
    ]
    for word in ("good", "defective", "unsure", "withdrawn", "defective", "withdrawn", "good"):
        for part in parts:
            holds = store.inspection(part)["decision_id"]
            store.decide(part, word, actor="anna", supersedes=holds).result(20)
        assert store.verify().problem is None, word


def test_what_is_written_meanwhile_is_no_tampering(filled, monkeypatch):
    def slowly(*arguments):
        add(filled, "REVIEW")  # after the trail was read
        return unaudited(*arguments)

    unaudited = audit._unaudited
    monkeypatch.setattr(audit, "_unaudited", slowly)
    before = filled.last_event()
    found = filled.verify()
    assert (found.problem, found.rows) == (None, before)
    assert filled.last_event() > before


def test_a_trail_that_was_written_anew_needs_a_witness(filled):
    head = filled.verify().head
    change(filled, "UPDATE decision SET note = 'another'")

    def anew(connection):
        before = audit.START
        rows = connection.execute(text("SELECT * FROM audit ORDER BY seq")).mappings().all()
        for row in map(dict, rows):
            if row["kind"] == "decision":
                query = text("SELECT * FROM decision WHERE id = :id")
                found = connection.execute(query, {"id": row["subject"]}).mappings().one()
                row["content"] = digest_of(dict(found))
            del row["hash"]
            row["previous"] = before
            before = audit._hash(row)
            connection.execute(
                text(
                    "UPDATE audit SET content = :content, previous = :previous, hash = :h "
                    "WHERE seq = :seq"
                ),
                {**row, "h": before},
            )

    filled.write(anew).result(20)
    assert filled.verify().problem is None  # nothing inside can show it
    assert f"no row with hash {head}" in filled.verify(head).problem


def test_the_trail_says_who_sent_a_part(store):
    part, inspection = new_rows()
    store.add_inspection(replace(part, actor="anna"), inspection).result(20)
    store.add_inspection(*new_rows()).result(20)
    rows = store.events(0, ["part", "inspection"])
    assert [row["actor"] for row in rows] == ["anna", "anna", "http", "http"]
    assert store.verify().problem is None
