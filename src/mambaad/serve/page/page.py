"""What all pages share: who looks, in which language, and how an answer is made."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from mambaad.artifacts.registry import Registry
from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.snapshot import opened
from mambaad.inspection.calibration import Calibration, read_calibration
from mambaad.serve.auth import Auth, Role, Who
from mambaad.serve.page.rendering import render
from mambaad.serve.page.texts import Texts, languages, preferred, read_texts
from mambaad.serve.problems import Problem
from mambaad.serve.product_setting import ProductSetting
from mambaad.serve.review.parts import ReviewedPart
from mambaad.serve.store.images import ImageStore
from mambaad.serve.store.store import Store
from mambaad.serve.store.writer import StoreError
from mambaad.types import Reading

LANGUAGE, THEME = "mambaad_language", "mambaad_theme"  # cookies
THEMES = ("auto", "light", "dark")
_MOST_REMEMBERED = 32
T = TypeVar("T")
_PAGES: tuple[tuple[str, str, Role], ...] = (
    ("live", "/", "viewer"),
    ("history", "/history", "viewer"),
    ("review", "/review", "reviewer"),
    ("settings", "/settings", "viewer"),
    ("drift", "/drift", "viewer"),
    ("bundles", "/bundles", "viewer"),
    ("audit", "/audit", "engineer"),
)
_LOCAL_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20]*")
_SAID: dict[str, Callable[[Texts, str], str]] = {
    "saved": lambda t, _: t("settings.saved"),
    "recalibrated": lambda t, _: t("recalibrate.done"),
    "decided": lambda t, word: t("part.decided", decision=t(f"decision.{word}")),
    "undone": lambda t, _: t("review.undone"),
    "promoted": lambda t, number: t("bundles.promoted", version=int(number)),
}
"""Messages that an answer may ask the next page to show, so that no other text can be shown."""
_WARNED: dict[str, str] = {
    "nothing_to_undo": "review.nothing_to_undo",
    "order": "settings.order",
    "nothing_left": "settings.nothing_left",
    "bad_shape": "settings.bad_shape",
    "changed_meanwhile": "bundles.changed_meanwhile",
    "uncompared": "bundles.uncompared",
}


@dataclass(frozen=True)
class Bundle:
    """The bundle in use: its file, its SHA-256, and its number in the registry, if it has one."""

    path: Path
    sha256: str
    version: int | None = None


@dataclass(frozen=True)
class Model:
    """What the pages need of a bundle: products, calibration, maps' size, how images are read."""

    products: tuple[str, ...]
    calibration: Calibration | None
    size: tuple[int, int]
    reading: Reading


def read_model(path: Path) -> Model:
    """Read what the pages need of a bundle or run folder (RunError)."""
    with opened(path) as snapshot:
        config = read_config(snapshot)
        calibration = read_calibration(snapshot, config.size)
        products = tuple(calibration.classes) if calibration else ()
        return Model(products, calibration, config.size, config.reading)


@dataclass
class PageParts:
    """What the pages work with; each function may be called from any thread.

    ``images``: the stored files. ``secret``: of the random share. ``in_use``: the bundle in use.
    ``promote``: puts a version of the registry into use, and ``rollback`` the one before; both for
    an actor, and they end when the new version inspects; ``rollback`` is given the version that it
    is to leave, too (Conflict if another one is in use). ``before``: the version that it returns
    to, if any. ``change_setting``: changes the setting of a product by a function, for an actor.
    ``registry``, ``line``: None with a single bundle.
    """

    store: Store
    auth: Auth
    images: ImageStore
    secret: bytes
    in_use: Callable[[], Bundle]
    promote: Callable[[int, str], None]
    rollback: Callable[[str, int], int]
    change_setting: Callable[[str, Callable[[ProductSetting], ProductSetting], str], None]
    registry: Registry | None = None
    line: str | None = None
    before: Callable[[], int | None] = lambda: None
    read_model: Callable[[Path], Model] = read_model
    _models: dict[str, Model] = field(default_factory=dict)
    _remembered: dict[Hashable, tuple[float, Any]] = field(default_factory=dict)

    def model(self) -> Model:
        """What is known of the bundle in use."""
        bundle = self.in_use()
        model = self._models.get(bundle.sha256)
        if model is None:
            model = self.read_model(bundle.path)
            self._models = {bundle.sha256: model}
        return model

    def remember(self, key: Hashable, seconds: float, make: Callable[[], T]) -> T:
        """Give what was made for a key within the last seconds, or make it.

        For sums over many parts: what all who look share, and that need not be of this instant.
        """
        found = self._remembered.get(key)
        if found is not None and found[0] > time.monotonic() - seconds:
            kept: T = found[1]
            return kept
        made = make()
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered = {}
        self._remembered[key] = (time.monotonic(), made)
        return made

    def image_of(self, part: ReviewedPart) -> bytes | None:
        """The stored image of a part, as it came; None if it is not kept (ImageChanged)."""
        return self.images.read_image(part.digest, part.format)

    def setting(self, product: str) -> ProductSetting:
        """What the page has set for a product."""
        row = self.store.setting(product)
        return ProductSetting.model_validate_json(row["content"]) if row else ProductSetting()


@dataclass(frozen=True)
class Viewer:
    """Who looks, as the templates ask it."""

    name: str
    role: str
    may_review: bool
    may_engineer: bool
    can_sign_out: bool


class Page:
    """Makes the answers of one request.

    Args:
        request: of the browser.
        parts: what the pages work with.
        who: who makes it; None before they have logged in.
    """

    def __init__(self, request: Request, parts: PageParts, who: Who | None) -> None:
        self.request, self.parts, self.who = request, parts, who
        accepted = request.headers.get("accept-language")
        self.t = read_texts(preferred(accepted, request.cookies.get(LANGUAGE)))
        theme = request.cookies.get(THEME, "")
        self.theme = theme if theme in THEMES else THEMES[0]

    @property
    def name(self) -> str:
        """Who acts, for the audit trail."""
        return self.who.name if self.who else ""

    def html(self, template: str, page: str = "", *, status: int = 200, **content: Any) -> Response:
        """Render a page; ``page`` is the one that the navigation marks."""
        who = self.who
        viewer = who and Viewer(
            who.name, who.role, who.may("reviewer"), who.may("engineer"), who.csrf is not None
        )
        shown = [(name, path) for name, path, role in _PAGES if who and who.may(role)]
        shared = {
            "t": self.t,
            "theme": self.theme,
            "themes": THEMES,
            "languages": languages(),
            "line": self.parts.line,
            "viewer": viewer,
            "token": who.csrf if who else None,
            "page": page,
            "pages": shown,
            "here": self._here(),
            "message": self._message(),
        }
        if "waiting" not in content:
            content["waiting"] = self._waiting() if who and who.may("reviewer") else 0
        text = render(template, **{**shared, **content})
        return HTMLResponse(text, status, headers={"Cache-Control": "no-store"})

    def fragment(self, template: str, **content: Any) -> Response:
        """Render a part of a page for a script."""
        text = render(template, t=self.t, **content)
        return HTMLResponse(text, headers={"Cache-Control": "no-store"})

    def go(self, path: str, said: str = "", value: str = "") -> Response:
        """Redirect to a page of ours, which may say something."""
        query = f"{'&' if '?' in path else '?'}said={said}" if said else ""
        return RedirectResponse(path + query + (f"&value={value}" if value else ""), 303)

    def _here(self) -> str:
        query = self.request.url.query
        return self.request.url.path + (f"?{query}" if query else "")

    def _waiting(self) -> int:
        try:
            return self.parts.store.review_length()
        except StoreError:
            return 0

    def _message(self) -> dict[str, str] | None:
        said = self.request.query_params.get("said", "")
        if said in _WARNED:
            return {"kind": "warning", "text": self.t(_WARNED[said])}
        try:
            value = self.request.query_params.get("value", "")
            return {"kind": "good", "text": _SAID[said](self.t, value)}
        except (KeyError, ValueError):
            return None


def local_path(path: str) -> str:
    """The path if it is one of ours, else the first page: no form sends anybody elsewhere."""
    return path if _LOCAL_PATH.fullmatch(path) else "/"


def page_for(role: Role) -> Callable[[Request], Page]:
    """Make a dependency: the page for whoever has a role (Problem: 401 or 403)."""

    def make(request: Request) -> Page:
        parts: PageParts = request.app.state.page
        who = parts.auth.who(request)
        if who is None:
            raise Problem(401, "login", "this needs a login", "log in")
        if not who.may(role):
            raise Problem(403, "role", f"this needs the role {role}", f"{who.name} is {who.role}")
        return Page(request, parts, who)

    return make


async def form_page(request: Request, role: Role) -> tuple[Page, dict[str, str]]:
    """Read a form whose token holds, from whoever has a role (Problem)."""
    page = page_for(role)(request)
    form = await request.form(max_files=0, max_fields=200, max_part_size=200_000)
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    assert page.who is not None
    page.parts.auth.check_csrf(request, page.who, fields.get("csrf_token"))
    return page, fields
