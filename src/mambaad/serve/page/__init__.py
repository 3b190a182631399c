"""The page of the service: server-rendered HTML, with texts in files and scripts of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from mambaad.serve.page.page import PageParts


def add_page(app: FastAPI, parts: PageParts) -> None:
    """Add the pages to an application, after its API."""
    from mambaad.serve.page import (
        routes,
        routes_line,
        routes_pictures,
        routes_review,
        routes_settings,
    )

    app.state.page = parts
    app.state.page_line = routes_line.Line()
    for module in (routes, routes_pictures, routes_review, routes_settings, routes_line):
        app.include_router(module.router)
