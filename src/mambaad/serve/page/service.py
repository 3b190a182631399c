"""The page of a running service."""

from __future__ import annotations

from mambaad.artifacts.registry import Registry
from mambaad.serve.page.page import Bundle, PageParts
from mambaad.serve.problems import Problem
from mambaad.serve.review.sampling import read_secret
from mambaad.serve.service import Service


def page_parts(service: Service) -> PageParts:
    """Make what the pages work with."""
    settings, bundles = service.settings, service.bundles

    def in_use() -> Bundle:
        if bundles.pool is None:
            raise Problem(503, "starting", "the service is not ready", "try again", retry=2)
        loaded = bundles.pool.loaded
        return Bundle(loaded.source, loaded.digest, bundles.version_of(loaded.digest))

    return PageParts(
        store=service.store,
        auth=service.auth,
        images=service.images,
        secret=read_secret(settings.data),
        in_use=in_use,
        promote=lambda number, actor: bundles.promote(number, actor=actor),
        rollback=lambda actor, expected: bundles.rollback(actor=actor, expected=expected),
        before=bundles.before,
        change_setting=lambda product, change, actor: bundles.change_setting(
            product, change, actor=actor
        ),
        registry=Registry(settings.registry) if settings.registry else None,
        line=settings.line,
    )
