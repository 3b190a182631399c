"""Files of parts that were not kept: removed at once, and at the start."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from mambaad.progress import say
from mambaad.serve.store.images import ImageStore
from mambaad.serve.store.rows import NewPart
from mambaad.serve.store.store import Store
from mambaad.serve.store.writer import StoreError


def drop(store: Store, images: ImageStore, part: NewPart) -> None:
    """Remove what a part that was not kept has on disk.

    Where nobody can say whether it was kept, its place in the spool leaves that to the next start.
    """
    with suppress(StoreError):
        state = store.state_of(part.id).result()
        if state == "kept":
            images.release(part)
        elif state is None:
            images.discard(part, store.has_image)


def reconcile(store: Store, images: ImageStore, before: float, go_on: Callable[[], bool]) -> None:
    """Remove older files of parts that were not kept, such as by a version that left them.

    Args:
        store, images: of the service.
        before: seconds since 1970.
        go_on: is asked from time to time.
    """
    try:
        removed = images.reconcile(store.known_files, before, go_on)
    except (StoreError, OSError) as error:
        say(f"files of parts that were not kept may be left: {error}")
    else:
        if removed:
            say(f"{removed} files of parts that were not kept were removed")
