"""What receivers ask for: users, passwords, keys. From a file or the environment.

Neither the command line nor a log shows them: other users of the machine could read those.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from mambaad.documents import DocumentError, read_yaml
from mambaad.errors import ConfigError

_FLAG = "--secrets-file"
ENVIRONMENT = "MAMBAAD"
"""MAMBAAD_MQTT_PASSWORD is ``password`` of ``mqtt``; it comes before the file's."""


Text = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Login(_Strict):
    """A user, and the files of a certificate of our own."""

    user: Text | None = None
    password: Secret | None = None
    certificate: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _are_pairs(self) -> _Login:
        if self.password is not None and self.user is None:
            raise ValueError("a password needs a user")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


class WebhookAccess(_Strict):
    """``secret``: signs what is posted. ``authorization``: that header, as it is."""

    secret: Secret | None = None
    authorization: Secret | None = None


class MqttAccess(_Login):
    """``ca``: a file of certificates to trust in place of the system's."""

    ca: Path | None = None


class OpcUaAccess(_Login):
    """With a certificate everything is signed and encrypted (Basic256Sha256).

    ``server_certificate``: the server's; without, that which it offers is taken.
    """

    server_certificate: Path | None = None


class Access(_Strict):
    """For each receiver."""

    webhook: WebhookAccess = WebhookAccess()
    mqtt: MqttAccess = MqttAccess()
    opcua: OpcUaAccess = OpcUaAccess()


def read_access(path: Path | None) -> Access:
    """Read the file, and the environment.

    Raises:
        ConfigError: it cannot be read, others can read it, or what is wrong in it, without values.
    """
    given: dict[str, Any] = {}
    if path is not None:
        try:
            if path.stat().st_mode & 0o077:
                raise ConfigError(f"{_FLAG}: others can read {path}; run chmod 600 on it")
            given = read_yaml(path, as_text=True) or {}
        except OSError as error:
            raise ConfigError(f"{_FLAG}: {path} cannot be read ({error.strerror})") from None
        except DocumentError as error:  # its message may show what stands there
            line = re.search(r", line \d+", str(error))
            where = f"{path}{line.group() if line else ''}"
            raise ConfigError(
                f"{_FLAG}: {where}: expected YAML; put values into single quotes"
            ) from None
        if not isinstance(given, dict) or not all(isinstance(v, dict) for v in given.values()):
            raise ConfigError(f"{_FLAG}: {path}: expected lines such as 'mqtt:' and '  user: NAME'")
    for name, field in Access.model_fields.items():
        for key in field.annotation.model_fields:  # type: ignore[union-attr]
            value = os.environ.get(f"{ENVIRONMENT}_{name}_{key}".upper())
            if value:
                given = {**given, name: {**given.get(name, {}), key: value}}
    try:
        return Access.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{path or 'the environment'}: {place}: {reason}") from None
