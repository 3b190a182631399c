"""The store, on both databases."""

import threading
from dataclasses import asdict, replace

import pytest

from mambaad.errors import ConfigError, RunError
from mambaad.serve.store.changes import Conflict, NotFound
from mambaad.serve.store.rows import Filter, Job, new_id, now
from mambaad.serve.store.store import Store
from mambaad.serve.store.writer import StoreError
from tests.serve.rows import add, new_rows


def test_an_inspection_comes_back_as_it_went_in(store):
    part, inspection = new_rows("FAIL", serial="A-1", key="k")
    assert store.add_inspection(part, inspection).result(20) == inspection.id
    row = store.inspection(inspection.id)
    for name, value in {**asdict(part), **asdict(inspection)}.items():
        if name not in ("record", "idempotency_key", "request_digest", "actor"):
            assert row[name] == value, name
    assert row["record"]["path"] == "ü\t.png"
    assert (row["product"], row["verdict"], row["score"], row["error"]) == (
        "bolt",
        "FAIL",
        0.25,
        None,
    )
    assert (row["decision"], row["differs"], row["in_review"]) == (None, False, False)
    assert store.inspection(new_id()) is None
    assert store.request_of("k") == ("b" * 64, inspection.id)
    assert store.request_of("other") is None


def test_a_part_has_one_inspection_and_a_key_one_part(store):
    part, first = new_rows(key="k")
    store.add_inspection(part, first).result(20)
    _, second = new_rows()
    twice = store.add_inspection(part, second)
    with pytest.raises(Conflict, match="Idempotency-Key k"):
        twice.result(20)
    with pytest.raises(Conflict):
        store.add_inspection(*new_rows(key="k")).result(20)
    nameless, one = new_rows()
    store.add_inspection(nameless, one).result(20)
    with pytest.raises(StoreError):
        store.add_inspection(nameless, second).result(20)
    assert len(store.inspections()) == 2
    assert store.verify().problem is None


def test_what_fails_spoils_nothing_that_shares_its_transaction(store):
    stop = threading.Event()
    blocked = store.write(lambda _: stop.wait(20))
    good = [store.add_inspection(*new_rows()) for _ in range(3)]
    broken = store.write(lambda c: c.exec_driver_sql("SELECT nonsense FROM nowhere"))
    refused = store.decide("nothing", "good", actor="anna")
    good.append(store.add_inspection(*new_rows()))
    stop.set()
    assert blocked.result(20)
    assert {future.result(20) for future in good} == {row["id"] for row in store.inspections()}
    with pytest.raises(StoreError, match="nowhere"):
        broken.result(20)
    with pytest.raises(NotFound):
        refused.result(20)


def test_lists_are_filtered_and_paged(store):
    ids = [
        add(store, verdict, product=product, serial=f"{number}")
        for number, (verdict, product) in enumerate(
            [("PASS", "bolt"), ("FAIL", "nut"), ("REVIEW", "nut"), ("PASS", "nut")]
        )
    ]
    errors = add(store, None, error="it broke")
    assert [row["id"] for row in store.inspections()] == [errors, *reversed(ids)]
    page = store.inspections(limit=2, before=ids[3])
    assert [row["id"] for row in page] == [ids[2], ids[1]]
    for wanted, expected in (
        (Filter(verdict="PASS"), [ids[3], ids[0]]),
        (Filter(product="nut", verdict="PASS"), [ids[3]]),
        (Filter(serial="1"), [ids[1]]),
        (Filter(until="2020-01-01T00:00:00Z"), []),
        (Filter(since="2020-01-01T00:00:00Z", product="nut"), [ids[3], ids[2], ids[1]]),
        (Filter(sampled=True), []),
        (Filter(differs=False, product="bolt"), [errors, ids[0]]),
    ):
        assert [row["id"] for row in store.inspections(wanted)] == expected, wanted
    assert store.counts() == {"PASS": 2, "FAIL": 1, "REVIEW": 1, "error": 1}
    assert store.counts(Filter(product="nut")) == {"PASS": 1, "FAIL": 1, "REVIEW": 1}
    assert store.counts(Filter(serial="0")) == {"PASS": 1}


@pytest.mark.parametrize(
    ("since", "until", "is_found"),
    [
        ("2026-01-31T12:00:00Z", None, True),
        ("2026-01-31T12:00:00.501Z", None, False),
        ("2026-01-31", None, True),
        ("2026-01-31T13:00:00.5+01:00", None, True),
        (None, "2026-01-31T12:00:00Z", False),
        (None, "2026-01-31T12:00:00.501Z", True),
        (None, "0005-01-01T00:00:00Z", False),
    ],
)
def test_times_are_compared_as_times(tmp_path, since, until, is_found):
    store = Store(tmp_path, f"sqlite:///{tmp_path / 'one.sqlite'}")
    part, inspection = new_rows()
    store.add_inspection(part, replace(inspection, at="2026-01-31T12:00:00.500Z")).result(20)
    assert len(store.inspections(Filter(since=since, until=until))) == is_found
    store.close()


@pytest.mark.parametrize(
    "time", ["2026-99-99T99:99:99Z", "2026-02-30", "", "Z", "noon", "0001-01-01T00:00:00+14:00"]
)
def test_an_impossible_time_is_refused(time):
    with pytest.raises(ConfigError, match="since: expected a time such as"):
        Filter(since=time)


def test_text_that_a_database_cannot_hold_is_refused_by_both(store):
    part = add(store)
    for write in (
        store.decide(part, "good", actor="t" * 101),
        store.decide(part, "good", actor="t", note="a\0"),
        store.decide(part, "good", actor="t", note="\ud800"),
        store.decide("a\0b", "good", actor="t"),
        store.put_user("a" * 101, "viewer", "hash", actor="t"),
        store.put_setting("a\0", {}, actor="t"),
        store.add_inspection(*new_rows(serial="a\0")),
        store.add_inspection(*new_rows(serial="s" * 201)),
    ):
        with pytest.raises(ConfigError, match="expected"):
            write.result(20)
    for read in (
        lambda: store.inspection("a\0b"),
        lambda: store.inspection("a" * 37),
        lambda: store.user("a\0"),
        lambda: store.inspections(Filter(serial="\udfff")),
    ):
        with pytest.raises(ConfigError, match="expected"):
            read()
    assert store.decide(part, "good", actor="t" * 100, note="n" * 5000).result(20)
    assert store.verify().problem is None


def test_review_has_what_is_in_doubt_and_what_was_drawn(store):
    doubtful, drawn = add(store, "REVIEW"), add(store, "PASS", sampled=True)
    add(store, "PASS")
    other = add(store, "BAD IMAGE", product="nut")
    failed = add(store, None, error="it broke")
    queue = store.review_queue()
    assert [row["id"] for row in queue] == [doubtful, drawn, other, failed]
    assert [row["review_reason"] for row in queue] == ["verdict", "sample", "verdict", "verdict"]
    assert [row["id"] for row in store.review_queue(after=doubtful, limit=1)] == [drawn]
    assert [row["id"] for row in store.review_queue(product="nut")] == [other]
    assert store.review_length() == 4


def test_a_decision_holds_until_it_is_superseded(store):
    part = add(store, "REVIEW")
    first = store.decide(part, "good", actor="anna", note="ok").result(20)
    assert store.review_length() == 0
    with pytest.raises(Conflict, match=f"supersedes {first['id']}"):
        store.decide(part, "defective", actor="ben").result(20)
    second = store.decide(part, "defective", actor="ben", supersedes=first["id"]).result(20)
    with pytest.raises(Conflict):  # two people at once: the second must look again
        store.decide(part, "good", actor="anna", supersedes=first["id"]).result(20)
    assert store.inspection(part)["decision"] == "defective"
    back = store.decide(part, "withdrawn", actor="ben", supersedes=second["id"]).result(20)
    row = store.inspection(part)
    assert (row["decision"], row["decision_id"], row["in_review"]) == (None, back["id"], True)
    assert [d["decision"] for d in store.decisions(part)] == ["good", "defective", "withdrawn"]
    assert store.verify().problem is None


@pytest.mark.parametrize(
    ("verdict", "decided", "differs"),
    [
        ("PASS", "defective", True),
        ("PASS", "good", False),
        ("FAIL", "good", True),
        ("FAIL", "unsure", False),
        ("REVIEW", "defective", False),
    ],
)
def test_a_decision_may_differ_from_the_verdict(tmp_path, verdict, decided, differs):
    store = Store(tmp_path, f"sqlite:///{tmp_path / 'one.sqlite'}")
    part = add(store, verdict)
    store.decide(part, decided, actor="anna").result(20)
    assert store.inspection(part)["differs"] is differs
    assert len(store.inspections(Filter(differs=True))) == differs
    assert [row["id"] for row in store.inspections(Filter(decision=decided))] == [part]
    assert store.review_length() == (decided == "unsure")
    store.close()


def test_a_withdrawal_needs_a_decision(store):
    with pytest.raises(Conflict, match="no decision to withdraw"):
        store.decide(add(store), "withdrawn", actor="anna").result(20)


def test_a_job_is_there_until_its_inspection_is(store):
    part, inspection = new_rows(key="k")
    job = Job(inspection.id, part)
    store.add_job(job).result(20)
    assert store.jobs() == [job]
    assert store.job(inspection.id) == job
    assert store.request_of("k") == ("b" * 64, inspection.id)
    with pytest.raises(Conflict):
        store.add_job(Job(new_id(), new_rows(key="k")[0])).result(20)
    store.add_inspection(part, inspection).result(20)
    assert store.jobs() == []
    assert store.job(inspection.id) is None
    assert store.has_part(part.id)
    assert store.has_image(part.sha256)
    assert not store.has_part(new_id())
    assert not store.has_image("0" * 64)


def test_settings_have_versions(store):
    assert store.setting("bolt") is None
    assert store.put_setting("bolt", {"a": [1, 2.5]}, actor="anna").result(20) == 1
    assert store.put_setting("bolt", {"a": 3}, actor="ben").result(20) == 2
    row = store.setting("bolt")
    assert (row["version"], row["content"], row["actor"]) == (2, '{"a":3}', "ben")
    assert store.verify().problem is None


def test_users_and_their_sessions(store):
    store.put_user("anna", "engineer", "hash", actor="test").result(20)
    store.add_session("s" * 64, "anna", "token", "2999-01-01T00:00:00.000Z").result(20)
    store.add_session("t" * 64, "anna", "token", "2000-01-01T00:00:00.000Z").result(20)
    assert store.session("s" * 64) == {
        "user_name": "anna",
        "csrf": "token",
        "role": "engineer",
    }
    assert store.session("t" * 64) is None
    store.remove_session("s" * 64).result(20)
    assert store.session("s" * 64) is None
    assert [user["name"] for user in store.users()] == ["anna"]
    assert "password" not in store.users()[0]
    store.remove_user("anna", actor="test").result(20)
    with pytest.raises(NotFound):
        store.remove_user("anna", actor="test").result(20)
    assert store.verify().problem is None


def test_events_are_numbered_and_announced(store):
    told = threading.Event()
    store.on_commit(told.set)
    assert store.last_event() == 0
    part = add(store)
    assert told.wait(20)
    assert store.last_event() == 2  # of the part, and of its inspection
    (event,) = store.events(0, ["inspection"])
    assert (event["seq"], event["subject"]) == (2, part)
    assert store.events(2, ["inspection"]) == []
    store.add_bundle_use("start", None, "d" * 64, actor="test").result(20)
    (use,) = store.events(2, ["bundle_use"])
    assert use["actor"] == "test"


def test_what_was_kept_is_there_after_a_restart(tmp_path, database):
    store = Store(tmp_path / "data", database)
    part = add(store, "FAIL")
    store.close()
    with pytest.raises(StoreError, match="ending"):
        add(store)
    again = Store(tmp_path / "data", database)
    assert again.inspection(part)["verdict"] == "FAIL"
    assert again.verify().problem is None
    again.close()


def test_one_service_at_a_time(tmp_path, postgres):
    import psycopg

    with psycopg.connect(postgres.format("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE one_at_a_time")
    url = postgres.format("one_at_a_time")
    store = Store(tmp_path / "a", url)
    with pytest.raises(RunError, match="another mambaad serve"):
        Store(tmp_path / "b", url)
    store.close()
    Store(tmp_path / "b", url).close()


def test_a_service_that_lost_its_connection_stops_writing_while_another_has_the_database(
    tmp_path, postgres
):
    import psycopg

    with psycopg.connect(postgres.format("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE lost_connection")
    url = postgres.format("lost_connection")

    def end_its_connection():
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )

    store = Store(tmp_path / "a", url)
    first = add(store)
    end_its_connection()
    second = Store(tmp_path / "b", url)
    other = add(second)
    with pytest.raises(StoreError, match="another mambaad serve uses this database"):
        add(store)
    assert [row["id"] for row in store.inspections()] == [other, first]  # it can still read
    second.close()
    add(store)  # the other one has ended
    end_its_connection()
    add(store)  # nobody took it meanwhile
    assert store.verify().problem is None
    store.close()


def test_identifiers_are_sorted_and_of_version_7():
    ids = [new_id() for _ in range(5000)]
    assert ids == sorted(set(ids))
    assert {(i[14], i[19] in "89ab", len(i)) for i in ids} == {("7", True, 36)}
    assert len(now()) == 24
    assert now().endswith("Z")
