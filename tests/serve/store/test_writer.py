"""The writer: grouping, and a database that is full."""

import threading

import pytest
from sqlalchemy import event

from mambaad.serve.store.store import Store
from mambaad.serve.store.writer import StoreFull
from tests.serve.rows import add, new_rows


@pytest.fixture
def sqlite(tmp_path):
    store = Store(tmp_path, f"sqlite:///{tmp_path / 'a.sqlite'}")
    yield store
    store.close()


def test_what_waits_shares_a_transaction(sqlite):
    commits = []
    event.listen(sqlite._writing, "commit", commits.append)
    stop = threading.Event()
    first = sqlite.write(lambda _: stop.wait(20))
    futures = [sqlite.add_inspection(*new_rows()) for _ in range(50)]
    stop.set()
    assert first.result(20)
    assert len({future.result(20) for future in futures}) == 50
    assert len(commits) <= 2


def add_many(store, kept):
    for _ in range(200):
        kept.append(add(store))


def test_a_full_database_refuses_and_recovers(sqlite):
    kept = [add(sqlite) for _ in range(3)]
    pages = sqlite.write(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar()).result(20)
    limit = sqlite.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar())
    assert limit.result(20) == pages
    futures = [sqlite.add_inspection(*new_rows()) for _ in range(2000)]
    problems = {type(f.exception(20)) for f in futures} - {type(None)}
    assert problems == {StoreFull}
    kept += [future.result() for future in futures if future.exception() is None]
    with pytest.raises(StoreFull, match="free some space"):
        add_many(sqlite, kept)
    assert {row["id"] for row in sqlite.inspections(limit=5000)} == set(kept)
    sqlite.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 100000").scalar()).result(20)
    kept.append(add(sqlite))
    assert sqlite.verify().problem is None
    assert sqlite.inspections()[0]["id"] == kept[-1]
