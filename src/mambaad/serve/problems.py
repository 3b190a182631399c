"""Errors as the API answers them: ``{"error": {"code", "message", "hint"}}``."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mambaad.errors import MambaADError
from mambaad.files import printable
from mambaad.serve.store.changes import Conflict, NotFound
from mambaad.serve.store.images import ImageChanged
from mambaad.serve.store.writer import StoreError, StoreFull


class Problem(MambaADError, RuntimeError):
    """A request that cannot be served.

    Args:
        status: of HTTP.
        code: a word for programs.
        message: what was expected and what came.
        hint: what to do.
        retry: seconds after which to try again.
    """

    def __init__(
        self, status: int, code: str, message: str, hint: str = "", *, retry: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.hint = status, code, message, hint
        self.retry = retry

    def response(self) -> JSONResponse:
        """The answer."""
        headers = {}
        if self.retry is not None:
            headers["Retry-After"] = str(max(1, round(self.retry)))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        error = {
            "code": self.code,
            "message": printable(self.message),
            "hint": printable(self.hint),
        }
        return JSONResponse({"error": error}, self.status, headers)


def problem_of(error: Exception) -> Problem:
    """Say of an error what the API answers."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, StoreFull):
        return Problem(
            507, "storage_full", str(error), "free some space; nothing was kept", retry=5
        )
    if isinstance(error, StoreError):
        return Problem(503, "store", str(error), "try again", retry=1)
    if isinstance(error, NotFound):
        return Problem(404, "not_found", str(error))
    if isinstance(error, Conflict):
        return Problem(409, "conflict", str(error))
    if isinstance(error, ImageChanged):
        return Problem(409, "image_changed", str(error))
    if isinstance(error, MambaADError):
        return Problem(422, "refused", str(error))
    return Problem(500, "internal", "the service failed; its log says why", "try again")


def answer_problems(app: FastAPI) -> None:
    """Have an application answer all errors in the one form."""

    async def refuse(_: Request, error: Exception) -> JSONResponse:
        return problem_of(error).response()

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return Problem(422, "invalid", f"{place}: {first['msg']}", "see /openapi.json").response()

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        found = Problem(error.status_code, "http", str(error.detail)).response()
        found.headers.update(error.headers or {})
        return found

    app.add_exception_handler(MambaADError, refuse)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, refuse)
