"""What people wait for, with 100,000 records in each database."""

import time
from datetime import datetime, timedelta, timezone

import pytest

from mambaad.serve.page import queries
from mambaad.serve.page.routes import _counts
from mambaad.serve.store.rows import Filter
from tests.serve.conftest import DATABASES, empty_database
from tests.serve.page.lines import (
    BUNDLE,
    fill,
    fill_quickly,
    inspection_id,
    make_app,
    make_parts,
    minutes_ago,
)
from tests.serve.page.test_browser import CHROMIUM, Served, browser, opened  # noqa: F401

COUNT = 100_000


@pytest.fixture(scope="module", params=DATABASES)
def parts(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("line")
    made = make_parts(folder, empty_database(request, folder))
    fill(made, 40)
    fill_quickly(made, COUNT, first=40)
    yield made
    made.store.close()


READS = {
    # what: the query, and how many milliseconds it may take at the median
    "next parts of the review": (lambda c: queries.undecided(c, after=None, limit=16), 100),
    "later parts of the review": (
        lambda c: queries.undecided(c, after=inspection_id(COUNT - 2000), limit=16),
        100,
    ),
    "the part after one": (lambda c: queries.newer(c, inspection_id(COUNT // 2)), 50),
    "good parts to compare with": (
        lambda c: queries.good_parts(c, "bolt", BUNDLE, other_than="", limit=200),
        100,
    ),
    "what changed by people": (lambda c: queries.audit_rows(c, None, 100, by_people=True), 100),
    "the first part of a shift": (lambda c: queries.first_since(c, minutes_ago(8 * 60)), 50),
    "scores of a week": (lambda c: queries.scores_since(c, "bolt", minutes_ago(7 * 1440)), 1000),
    "scores of a day": (
        lambda c: list(queries.scored_between(c, "bolt", minutes_ago(1440), "9", BUNDLE)),
        3000,
    ),
}


def median_ms(call, rounds=5):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return sorted(times)[rounds // 2]


@pytest.mark.parametrize("what", READS)
def test_a_query_is_quick(parts, what):
    query, most = READS[what]
    found = median_ms(lambda: parts.store.read(query))
    print(f"{what}: {found:.1f} ms")
    assert found < most


def test_the_counts_of_a_shift_are_quick_and_right(parts):
    found = median_ms(lambda: _counts(parts, 8), 3)
    print(f"counts of 8 hours: {found:.0f} ms")
    assert found < 1500
    since = minutes_ago(8 * 60)
    counts = _counts(parts, 8)
    until_now = parts.store.counts(Filter(since=since))
    assert counts.total == sum(until_now.values())
    assert counts.total == pytest.approx(COUNT / 3, rel=0.01)
    hours = datetime.now(timezone.utc) - datetime.fromisoformat(since[:-1] + "+00:00")
    assert hours < timedelta(hours=8, minutes=1)
    assert counts.per_hour == pytest.approx(COUNT / 24, rel=0.05)


@pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"needs {CHROMIUM}")
def test_the_next_part_shows_within_200_ms(browser, parts):  # noqa: F811
    served = Served(make_app(parts))
    page = opened(browser, served, "/review")
    page.wait_for_selector("#reviewing[data-ready]")
    page.wait_for_timeout(500)  # a person looks at the first part
    times = page.evaluate(
        """async () => {
          const times = [];
          for (let n = 0; n < 12; n++) {
            const before = document.getElementById("reviewing").dataset.id;
            const start = performance.now();
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "g", bubbles: true }));
            const image = document.querySelector("#picture image");
            const probe = new Image();
            probe.src = image.getAttribute("href");
            await probe.decode();
            await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
            if (document.getElementById("reviewing").dataset.id === before) throw new Error("same");
            times.push(performance.now() - start);
            await new Promise(done => setTimeout(done, 150));
          }
          return times;
        }"""
    )
    served.close()
    page.context.close()
    print(f"next part: median {sorted(times)[6]:.0f} ms, longest {max(times):.0f} ms")
    assert sorted(times)[6] < 200
