"""The writer: grouping, and a database that is full."""

import threading

import pytest
from sqlalchemy import event

from mambaad.serve.store.store import Store
from mambaad.serve.store.writer import StoreError, StoreFull
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


@pytest.mark.parametrize("is_hidden", [False, True])
def test_an_error_that_ends_the_transaction_fails_all_that_shared_it(store, is_hidden):
    def out_of_memory(connection):
        connection.exec_driver_sql("ROLLBACK")  # as SQLite does of itself
        if not is_hidden:
            raise MemoryError

    stop = threading.Event()
    blocked = store.write(lambda _: stop.wait(20))
    first = store.add_inspection(*new_rows())
    lost = store.write(out_of_memory)
    last = store.add_inspection(*new_rows())
    stop.set()
    assert isinstance(blocked.exception(20), (StoreError, type(None)))  # it may have been alone
    for future in (first, lost, last):
        with pytest.raises(StoreError, match="try again"):
            future.result(20)
    assert store.inspections() == []
    kept = add(store)
    assert [row["id"] for row in store.inspections()] == [kept]
    assert store.verify().problem is None


def test_an_error_of_one_write_is_its_own(store):
    def fail(_):
        raise MemoryError

    stop = threading.Event()
    blocked = store.write(lambda _: stop.wait(20))
    first, broken, last = (
        store.add_inspection(*new_rows()),
        store.write(fail),
        store.add_inspection(*new_rows()),
    )
    stop.set()
    assert blocked.result(20)
    with pytest.raises(MemoryError):
        broken.result(20)
    assert {first.result(20), last.result(20)} == {row["id"] for row in store.inspections()}
