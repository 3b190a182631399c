"""The settings of a service."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from mambaad.errors import ConfigError

_SCHEMES = {
    "webhook": ("http", "https"),
    "mqtt": ("mqtt", "mqtts"),
    "opcua": ("opc.tcp",),
}
"""Of the settings that are URLs of receivers."""


class ServeSettings(BaseModel):
    """How a service runs; every field is a flag of ``mambaad serve``.

    ``bundle``: a bundle or run folder; or ``registry`` and ``line``: the version in use there.
    ``data``: the folder of everything that is kept. ``database``: an SQLAlchemy URL; None is SQLite
    in that folder.
    ``mode``: ``latency`` has one inference process with all cores, ``throughput`` one process a
    core with one thread each; ``workers`` overrides their number.
    ``queue``: parts that may wait, be uploaded or be inspected at a time, of ``queue_bytes``
    together; more are refused.
    ``part_seconds``: a part that takes longer is inspected again, and the second time an error.
    ``worker_growth_mb``: MiB; an inference process that has grown by more since it was loaded is
    replaced by another, which is loaded first (on Linux).
    ``max_bytes``, ``max_pixels``: of an upload (pixels: as in training by default);
    ``rate``: uploads a second of one client; ``upload_seconds``: an upload may take.
    ``keep``: which images stay: all, those that did not pass, or a random ``keep_share`` of those
    that passed besides; at most ``keep_days`` and ``keep_gb``. Images whose parts wait for a person
    stay by every rule but the limits.
    ``review_share``: the random share of all parts that people look at, whatever their verdict.
    ``min_free_mb``: with less free disk space parts are refused.
    ``token_file``: lines of ``role name token``; a host other than loopback needs it, or users.
    ``proxy``: address of a proxy, whose X-Forwarded headers are believed; of nobody else.
    ``watch``: a folder whose new images are inspected; ``watch_then`` leaves or moves them;
    ``watch_settle``: seconds that a file must not have changed before it is read.
    ``webhook``: an URL that receives each inspection. ``mqtt``: a broker, mqtt:// or mqtts://, that
    does, under the topics ``mqtt_topic``/... ``opcua``: a server, opc.tcp://, whose nodes do;
    ``opcua_node``: their ids, with {name}. ``secrets_file``: users and passwords for them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path | None = None
    registry: Path | None = None
    line: str | None = None
    data: Path = Path("mambaad-data")
    database: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    mode: Literal["latency", "throughput"] = "latency"
    workers: int | None = Field(default=None, ge=1, le=256)
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    queue: int = Field(default=64, ge=1, le=100_000)
    queue_bytes: int = Field(default=512 * 2**20, ge=2**20)
    part_seconds: float = Field(default=60.0, gt=0)
    worker_growth_mb: float = Field(default=2048.0, gt=0)
    max_bytes: int = Field(default=32 * 2**20, ge=1024)
    max_pixels: int | None = Field(default=None, ge=1)
    rate: float = Field(default=200.0, gt=0)
    upload_seconds: float = Field(default=30.0, gt=0)
    keep: Literal["all", "not-pass", "share"] = "all"
    keep_share: float = Field(default=0.1, ge=0, le=1)
    keep_days: float | None = Field(default=None, gt=0)
    keep_gb: float | None = Field(default=None, gt=0)
    review_share: float = Field(default=0.02, ge=0, le=1)
    min_free_mb: float = Field(default=100.0, ge=0)
    token_file: Path | None = None
    proxy: str | None = None
    watch: Path | None = None
    watch_then: Literal["leave", "move"] = "leave"
    watch_settle: float = Field(default=1.5, gt=0)
    webhook: str | None = None
    mqtt: str | None = None
    mqtt_topic: str = Field(default="mambaad", pattern=r"^[^+#$\x00][^+#\x00]*$", max_length=200)
    opcua: str | None = None
    opcua_node: str = Field(
        default="ns=2;s=MambaAD.{name}", pattern=r"^(ns=\d+;)?s=[^{}]*\{name\}[^{}]*$"
    )
    secrets_file: Path | None = None

    @field_validator(*_SCHEMES)
    @classmethod
    def _has_a_host(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            return None
        schemes = _SCHEMES[info.field_name or ""]
        try:
            parts = urlsplit(url)
            is_whole = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_whole = False
        if not is_whole:
            raise ValueError(f"expected {' or '.join(f'{scheme}://HOST' for scheme in schemes)}")
        if parts.username is not None:
            raise ValueError("put the user and password into --secrets-file")
        return url

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the database."""
        return self.database or f"sqlite:///{self.data.absolute() / 'store.sqlite'}"

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine can reach the service."""
        return is_loopback(self.host)

    @property
    def processes(self) -> int:
        """The number of inference processes."""
        return self.workers or (1 if self.mode == "latency" else _cores())

    @property
    def threads(self) -> int:
        """The compute threads of each inference process."""
        return max(_cores() // self.processes, 1) if self.mode == "latency" else 1


def make_settings(**given: Any) -> ServeSettings:
    """Check settings (ConfigError: names the flag, what was expected and what came).

    Args:
        given: fields of :class:`ServeSettings`; None stands for the default.
    """
    try:
        settings = ServeSettings(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + ".".join(map(str, first["loc"])).replace("_", "-")
        message = first["msg"].removeprefix("Value error, ")
        given_shown = re.sub(r"//[^/]*@", "//...@", repr(first["input"]))  # passwords in URLs
        raise ConfigError(f"{flag}: {message}, got {given_shown}") from None
    if (settings.bundle is None) == (settings.registry is None):
        raise ConfigError("give a bundle, or --registry and --line, and not both")
    if (settings.registry is None) != (settings.line is None):
        raise ConfigError("--registry and --line go together; give both or neither")
    return settings


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, seen from itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
