"""Errors of the pages, as pages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from fastapi.routing import APIRoute

from mambaad.errors import MambaADError
from mambaad.serve.page.page import Page
from mambaad.serve.problems import Problem, problem_of

_SHOWN = (403, 404, 409, 422, 503)


class PageRoute(APIRoute):
    """A route whose errors are pages, or JSON for a script; without a login it leads there."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError:
                problem = Problem(422, "invalid", "")
            except MambaADError as error:
                problem = problem_of(error)
            return answer(request, problem)

        return handle


def answer(request: Request, problem: Problem) -> Response:
    """Answer a problem as a page."""
    accepted = request.headers.get("accept", "*/*")
    is_page = "text/html" in accepted or accepted == "*/*"
    if not is_page or "/fragments/" in request.url.path:
        return problem.response()
    if problem.status == 401:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        target = quote(path if request.method == "GET" else "/", safe="/")
        return RedirectResponse(f"/login?next={target}", 303)
    who = None
    with suppress(MambaADError):  # then the page has no navigation
        who = request.app.state.page.auth.who(request)
    code = problem.status if problem.status in _SHOWN else 503
    page = Page(request, request.app.state.page, who)
    detail = problem.message if code == 422 else ""
    return page.html("error.html", status=problem.status, code=code, detail=detail)
