"""A claim on a folder of a store, in which no lock of the system helps: one job begins there."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from mambaad.errors import MambaADError, RunError
from mambaad.shards.job import JOB
from mambaad.shards.stores import Place, first_line

BEGUN = "begin"
"""The folder of claims; there is none once a job has begun."""
_RENEWED = 20.0  # seconds between two signs of life of a claim
_STALE = 120.0  # seconds without one after which nobody is there any more


@contextmanager
def claimed(place: Place) -> Generator[Callable[[], None], None, None]:
    """Claim a folder of a store while a job is begun there; of two at a time at most one succeeds.

    Each writes its claim, and then looks for others: a store lists what was written before, so
    that at least one sees the other, and who sees one gives up. A claim is renewed as long as its
    process is there, and does not count any more two minutes after that, by the store's clock.

    Args:
        place: in a store.

    Yields:
        What checks that the claim still holds, to be called before the job's settings are written.

    Raises:
        RunError: another one has claimed it, or the store does not answer.
    """
    name = secrets.token_hex(8)
    claim = f"{BEGUN}/{name}"
    is_over = threading.Event()

    def renew() -> None:
        while not is_over.wait(_RENEWED):
            with suppress(MambaADError):  # next time
                place.write(claim, b"")

    place.write(claim, b"")
    renewing = threading.Thread(target=renew, name="claim", daemon=True)
    renewing.start()
    try:
        check_claim(place, name)
        yield lambda: check_claim(place, name)
    finally:
        is_over.set()
        renewing.join()
        with suppress(OSError):
            place.remove(claim)


def check_claim(place: Place, name: str) -> None:
    """Check that a claim is the only one, and that no job has begun (RunError)."""
    try:
        has_begun, times = place.has(JOB), place.times(BEGUN)
    except OSError as error:
        raise RunError(
            f"{place} cannot be listed ({first_line(error)}); check the store"
        ) from error
    now = times.pop(name, None)
    if has_begun or now is None or any(now - time < _STALE for time in times.values()):
        raise RunError(
            f"another command is beginning a job in {place}, or was ended while it did; give "
            f"another --out, or wait {_STALE / 60:.0f} min and go on with it by --resume"
        )
