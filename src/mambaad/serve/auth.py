"""Who may do what: roles, tokens, passwords, sessions, and the checks of a request.

On loopback without tokens and users everyone is an engineer: whoever can log in to the machine.
A page of another origin still cannot act, since requests that change something must come from this
one, and only requests for a loopback name are answered (which stops DNS rebinding).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from fastapi import Request

from mambaad.errors import ConfigError
from mambaad.serve.problems import Problem
from mambaad.serve.settings import ServeSettings
from mambaad.serve.store.rows import time_text
from mambaad.serve.store.store import Store

Role = Literal["viewer", "reviewer", "engineer"]
ROLES: tuple[Role, ...] = get_args(Role)
COOKIE, CSRF_HEADER, CSRF_FIELD = "mambaad_session", "x-csrf-token", "csrf_token"
SESSION_HOURS = 12
_ATTEMPTS, _PER_SECONDS = 5, 60.0  # of logins that fail or are under way
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1")
_HASHING = threading.Semaphore(2)  # argon2 takes 64 MiB each time
_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Who:
    """Who makes a request. ``csrf``: the token that their forms carry; None without a session."""

    name: str
    role: Role
    csrf: str | None = None

    def may(self, role: Role) -> bool:
        """Whether they have this role, or one above."""
        return ROLES.index(self.role) >= ROLES.index(role)


LOCAL = Who("local", "engineer")


class Auth:
    """Checks requests, passwords and sessions.

    Args:
        store: has the users and sessions.
        settings: say whether the service is on loopback, and where the tokens are.

    Raises:
        ConfigError: a host other than loopback without tokens and users, or an unusable file.
    """

    def __init__(self, store: Store, settings: ServeSettings) -> None:
        self._store = store
        self._tokens = read_tokens(settings.token_file) if settings.token_file else {}
        self._is_loopback = settings.is_loopback
        self._host = settings.host
        self._attempts: OrderedDict[str, list[float]] = OrderedDict()
        self._counting = threading.Lock()
        self._has_users = bool(store.users())
        if not settings.is_loopback and not self.is_closed:
            raise ConfigError(
                f"--host {settings.host}: others could reach the service without a password; give "
                "--token-file, or add a user (mambaad serve user add), or use 127.0.0.1"
            )

    @property
    def is_closed(self) -> bool:
        """Whether requests need a token or session."""
        return bool(self._tokens) or self._has_users

    def who(self, request: Request) -> Who | None:
        """Find who makes a request; None if they must log in first.

        Raises:
            Problem: a wrong token, another origin, or a form without its token.
        """
        host = request.headers.get("host", "")
        if (
            self._is_loopback
            and not self.is_closed
            and _name_of(host)
            not in (
                *_LOOPBACK_NAMES,
                self._host,
            )
        ):
            raise Problem(421, "wrong_host", f"this service is not {host}", "use 127.0.0.1")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            found = self._tokens.get(_digest(token.strip()))
            if found is None:
                raise Problem(401, "wrong_token", "the token is not known", "check --token-file")
            return found
        if request.method not in _SAFE:
            _check_origin(request, host)
        if not self.is_closed:
            return LOCAL
        cookie = request.cookies.get(COOKIE)
        session = self._store.session(_digest(cookie)) if cookie else None
        if session is None:
            return None
        return Who(session["user_name"], session["role"], session["csrf"])

    def check_csrf(self, request: Request, who: Who, form_token: str | None = None) -> None:
        """Refuse a changing request of a session without its token (Problem)."""
        given = request.headers.get(CSRF_HEADER) or form_token or ""
        if who.csrf and not hmac.compare_digest(given.encode(), who.csrf.encode()):
            raise Problem(
                403, "csrf", "the request lacks the session's token", f"send {CSRF_HEADER}"
            )

    def log_in(self, name: str, password: str, address: str) -> tuple[str, str]:
        """Start a session; returns its cookie and its CSRF token. Takes a tenth of a second.

        Raises:
            Problem: a wrong name or password, or too many of them.
        """
        keys = (f"name {name}", f"from {address}")
        self._count(keys)
        found = self._store.user(name)
        if not is_password(password, found["password"] if found else None):
            raise Problem(401, "wrong_password", "the name or password is wrong", "try again")
        with self._counting:
            for key in keys:
                self._attempts.pop(key, None)
        cookie, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        expires = datetime.now(timezone.utc) + timedelta(hours=SESSION_HOURS)
        self._store.add_session(_digest(cookie), name, csrf, time_text(expires)).result()
        return cookie, csrf

    def _count(self, keys: tuple[str, ...]) -> None:
        """Count a login before its password is checked, so that many at once are many (Problem)."""
        with self._counting:
            now = time.monotonic()
            recent = {
                key: [t for t in self._attempts.get(key, []) if t > now - _PER_SECONDS]
                for key in keys
            }
            if any(len(times) >= _ATTEMPTS for times in recent.values()):
                raise Problem(
                    429, "too_many_logins", "too many logins in a minute", "wait", retry=60
                )
            for key, times in recent.items():
                self._attempts[key] = [*times, now]
                self._attempts.move_to_end(key)
            while len(self._attempts) > 10_000:
                self._attempts.popitem(last=False)

    def log_out(self, request: Request) -> None:
        """End the session of a request."""
        cookie = request.cookies.get(COOKIE)
        if cookie:
            self._store.remove_session(_digest(cookie)).result()


def require(role: Role) -> Callable[[Request], Awaitable[Who]]:
    """Make a dependency of a route: who makes the request, if they have a role (Problem)."""

    async def check(request: Request) -> Who:
        auth: Auth = request.app.state.service.auth
        # The sessions are in the store, everything else in memory.
        reads = auth.is_closed and COOKIE in request.cookies
        who = await asyncio.to_thread(auth.who, request) if reads else auth.who(request)
        if who is None:
            raise Problem(401, "login", "this needs a token or a login", "log in, or send a token")
        if not who.may(role):
            raise Problem(403, "role", f"this needs the role {role}", f"{who.name} is {who.role}")
        content = request.headers.get("content-type", "")
        is_form = content.startswith(("application/x-www-form-urlencoded", "multipart/form-data"))
        # A form's token is in its body: the page's routes check it (check_csrf).
        if request.method not in _SAFE and not (is_form and "/v1/" not in request.url.path):
            auth.check_csrf(request, who)
        return who

    return check


def hash_password(password: str) -> str:
    """Make argon2's form of a password (ConfigError: fewer than 8 characters)."""
    from argon2 import PasswordHasher

    if len(password) < 8:
        raise ConfigError("the password has fewer than 8 characters; choose a longer one")
    return PasswordHasher().hash(password)


def is_password(password: str, hashed: str | None) -> bool:
    """Whether a password is the one that was hashed; takes as long for nobody's."""
    from argon2 import PasswordHasher
    from argon2.exceptions import Argon2Error, InvalidHashError

    hasher = PasswordHasher()
    with _HASHING:
        if hashed is None:
            hasher.hash(password)
            return False
        try:
            return hasher.verify(hashed, password)
        except (Argon2Error, InvalidHashError):
            return False


def read_tokens(path: Path) -> dict[str, Who]:
    """Read a file of tokens, by their SHA-256.

    Each line is ``role name token``; empty lines and those that begin with # are skipped.

    Raises:
        ConfigError: a line of another form, a short token, or a file that others can read.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file: {path} cannot be read ({error})") from error
    if mode & 0o077:
        raise ConfigError(f"--token-file: others can read {path}; run chmod 600 on it")
    found: dict[str, Who] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        is_right = len(words) == 3 and words[0] in ROLES and len(words[2]) >= 16
        if not is_right or len(words[1]) > 100 or not words[1].isprintable():
            raise ConfigError(
                f"--token-file: {path}, line {number}: expected 'role name token', the role one of "
                f"{', '.join(ROLES)}, the name of 100 characters at most, the token of 16 or more"
            )
        role = ROLES[ROLES.index(words[0])]
        found[_digest(words[2])] = Who(words[1], role)
    if not found:
        raise ConfigError(f"--token-file: {path} has no token; write 'engineer NAME TOKEN'")
    return found


def _check_origin(request: Request, host: str) -> None:
    """Refuse what another site's page makes a browser send."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site not in (None, "same-origin", "none") or (origin and urlsplit(origin).netloc != host):
        raise Problem(403, "origin", "the request comes from another site", "use the page itself")


def _name_of(host: str) -> str:
    return host.rpartition(":")[0] if host[-1:].isdigit() and ":" in host else host


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
