"""Which bundle inspects: the one given, or the line's version in use in a registry."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

from mambaad.artifacts.registry import Registry
from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.snapshot import opened
from mambaad.serve.inference.pool import InferencePool
from mambaad.serve.inference.worker import Loaded, Plan
from mambaad.serve.product_setting import ProductSetting
from mambaad.serve.settings import ServeSettings
from mambaad.serve.store.changes import SERVICE, Conflict
from mambaad.serve.store.rows import time_text
from mambaad.serve.store.store import Store
from mambaad.serve.store.writer import StoreError

_PATIENCE = 60.0  # seconds that a change of a setting waits for another one


class Bundles:
    """Starts the pool, and changes the bundle without a lost or doubled part.

    Args:
        settings: which bundle, or registry and line.
        store: every use is noted in it.
    """

    def __init__(self, settings: ServeSettings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._registry = Registry(settings.registry) if settings.registry else None
        self._line = settings.line or ""
        self._turn = threading.Lock()
        self._versions: dict[str, int | None] = {}  # by the bundle's digest
        self.pool: InferencePool | None = None

    def start(self) -> InferencePool:
        """Load what is in use (RunError)."""
        settings = self._settings
        if self._registry:
            source, number = self._registry.current(self._line), self._line_now()[-1]
        else:
            assert settings.bundle is not None  # make_settings checks it
            source, number = settings.bundle, None
        with opened(source) as run:  # what is no model is found out before PyTorch is loaded
            read_config(run)
        pool = InferencePool(
            self._plan(source),
            processes=settings.processes,
            queue=settings.queue,
            part_seconds=settings.part_seconds,
            growth=settings.worker_growth_mb,
        )
        self.pool = pool
        self._versions[pool.loaded.digest] = number
        self._store.add_bundle_use("start", number, pool.loaded.digest, actor=SERVICE).result()
        return pool

    def version_of(self, digest: str) -> int | None:
        """The number in the registry of a bundle that inspects or did; None without a registry."""
        return self._versions.get(digest)

    def versions(self) -> list[dict[str, object]]:
        """All versions of the line, or the one bundle: fields of ``BundleVersion``."""
        loaded = self._loaded()
        if self._registry is None:
            return [
                {
                    "number": None,
                    "sha256": loaded.digest,
                    "classes": list(loaded.products),
                    "in_use": True,
                }
            ]
        # By what is loaded: the command line may have promoted another one meanwhile.
        number = self.version_of(loaded.digest)
        return [
            {**version.model_dump(), "in_use": version.number == number}
            for version in self._registry.read(self._line).versions
        ]

    def path_of(self, number: int) -> Path:
        """The file of a version, such as to replay decisions against it (RunError)."""
        registry = self._needs_registry()
        registry.read(self._line).get(number)
        return registry.root / self._line / f"{number}.mambaad"

    def promote(self, number: int, *, actor: str) -> None:
        """Have a version of the line inspect from now on.

        It is loaded first; if that fails, the former goes on. Returns when the last part of the
        former is done.

        Raises:
            Conflict: there is no registry, or another change is under way.
            RunError: there is no such version, or it cannot be loaded.
        """
        registry = self._needs_registry()
        with self._change() as pool:
            self._switch(
                pool, number, "promote", actor, lambda: registry.promote(self._line, number)
            )

    def rollback(self, *, actor: str, expected: int | None = None) -> int:
        """Return to the version that was in use before; see :meth:`promote`.

        Args:
            actor: who.
            expected: the version that is to be left; None for whichever is in use. Whoever gives
                it and asks twice, as no answer came, goes back once.
        """
        registry = self._needs_registry()
        with self._change() as pool:
            # Read here, where nobody else rolls back: two at once would go back to two versions.
            number, current = self.before(), self._line_now()[-1]
            if expected is not None and expected != current:
                raise Conflict(f"version {current} is in use, not {expected}; look again")
            if number is None:
                raise Conflict(f"line {self._line} has no version that was in use before")

            def note() -> None:
                if self.before() != number:
                    raise Conflict("the registry was changed by another program; look again")
                registry.rollback(self._line)

            self._switch(pool, number, "rollback", actor, note)
            return number

    def before(self) -> int | None:
        """The version that a rollback returns to; None without one."""
        if self._registry is None:
            return None
        used = self._line_now()
        return next((number for number in reversed(used) if number != used[-1]), None)

    def change_setting(
        self, product: str, change: Callable[[ProductSetting], ProductSetting], *, actor: str
    ) -> None:
        """Have a product inspected with another setting from now on, and keep it.

        It is kept once the processes have it, so that what the store says is what inspects.

        Args:
            product: whose.
            change: makes it from the present one, which nobody else changes meanwhile; what it
                raises is passed on.
            actor: who.

        Raises:
            Conflict: another change has been under way for long.
            RunError: it cannot be loaded; the former setting stays in force and is kept.
        """
        with self._change(_PATIENCE) as pool:
            row = self._store.setting(product)
            before = ProductSetting.model_validate_json(row["content"]) if row else ProductSetting()
            after = change(before)

            def keep(_: Loaded) -> None:
                kept = after
                if after.shapes != before.shapes:
                    # Parts in work end with the former area, and are not counted to this one.
                    wait = timedelta(seconds=self._settings.part_seconds)
                    since = time_text(datetime.now(timezone.utc) + wait)
                    kept = after.model_copy(update={"area_changed": since})
                content = kept.model_dump(mode="json")
                self._store.put_setting(product, content, actor=actor).result()

            settings = {**self._store.settings(), product: after.model_dump_json()}
            pool.switch(self._plan(pool.loaded.source, settings), keep)

    @contextmanager
    def _change(self, wait: float = 0.0) -> Iterator[InferencePool]:
        """Take the turn to change what inspects, within some seconds (Conflict)."""
        pool = self.pool
        if pool is None:
            raise Conflict("the service is not ready; try again")
        if not self._turn.acquire(timeout=wait):
            raise Conflict("another change of the bundle is under way; wait for it")
        try:
            yield pool
        finally:
            self._turn.release()

    def _switch(
        self,
        pool: InferencePool,
        number: int,
        action: str,
        actor: str,
        note: Callable[[], object],
    ) -> None:
        def before_use(loaded: Loaded) -> None:
            registry = self._needs_registry()
            registry.path(self._line, number)  # checks that the file is the one that was added
            # First in the store: what fails then has changed nothing that a restart would read.
            self._store.add_bundle_use(action, number, loaded.digest, actor=actor).result()
            try:
                note()
            except BaseException:
                former = pool.loaded.digest
                back = "rollback", self.version_of(former), former
                with suppress(StoreError):  # then the next start notes what it loads
                    self._store.add_bundle_use(*back, actor=SERVICE).result()
                raise
            self._versions[loaded.digest] = number

        pool.switch(self._plan(self.path_of(number)), before_use)

    def _plan(self, source: Path, of_products: dict[str, str] | None = None) -> Plan:
        settings = self._settings
        return Plan(
            source,
            threads=settings.threads,
            device=settings.device,
            precision=settings.precision,
            max_pixels=settings.max_pixels,
            settings=self._store.settings() if of_products is None else of_products,
        )

    def _loaded(self) -> Loaded:
        if self.pool is None:
            raise Conflict("the service is not ready; try again")
        return self.pool.loaded

    def _line_now(self) -> list[int]:
        assert self._registry is not None
        return self._registry.read(self._line).used

    def _needs_registry(self) -> Registry:
        if self._registry is None:
            raise Conflict(
                "the service has one bundle; start it with --registry and --line to change it"
            )
        return self._registry
