"""The sinks that the settings name."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from mambaad.errors import ConfigError
from mambaad.progress import say
from mambaad.serve.review.sampling import read_secret
from mambaad.serve.settings import ServeSettings, is_loopback
from mambaad.serve.sinks.access import read_access
from mambaad.serve.sinks.sink import Sink
from mambaad.serve.sinks.webhook import Webhook


def make_sinks(settings: ServeSettings) -> dict[str, Sink]:
    """The sinks of a service, by their names in the outbox.

    Raises:
        ConfigError: a library that is missing, or what is wrong with the file of secrets.
        RunError: the secret of the installation cannot be read.
    """
    access = read_access(settings.secrets_file)
    sinks: dict[str, Sink] = {}
    if settings.webhook:
        try:
            sinks["webhook"] = Webhook(settings.webhook, access.webhook)
        except ValueError:
            raise ConfigError("webhook.secret: expected Base64 after whsec_") from None
    if settings.mqtt:
        try:
            from mambaad.serve.sinks.mqtt import Mqtt
        except ModuleNotFoundError as error:
            raise _missing("mqtt", error) from error
        _say_if_readable("mqtt", settings.mqtt, is_secret=access.mqtt.password is not None)
        # Stable, so that a broker ends what is left of a connection before a crash.
        name = hmac.digest(read_secret(settings.data), b"mqtt", "sha256").hex()[:12]
        sinks["mqtt"] = Mqtt(settings.mqtt, settings.mqtt_topic, f"mambaad-{name}", access.mqtt)
    if settings.opcua:
        try:
            from mambaad.serve.sinks.opcua import OpcUa
        except ModuleNotFoundError as error:
            raise _missing("opcua", error) from error
        is_open = access.opcua.password is not None and access.opcua.certificate is None
        _say_if_readable("opcua", settings.opcua, is_secret=is_open)
        sinks["opcua"] = OpcUa(settings.opcua, settings.opcua_node, access.opcua)
    return sinks


def _missing(extra: str, error: ModuleNotFoundError) -> ConfigError:
    return ConfigError(f"--{extra} needs {error.name}; run pip install 'mambaad[serve,{extra}]'")


def _say_if_readable(name: str, url: str, *, is_secret: bool) -> None:
    """Say that a password travels as it is."""
    parts = urlsplit(url)
    if is_secret and parts.scheme != "mqtts" and not is_loopback(parts.hostname or ""):
        advice = "use mqtts://" if name == "mqtt" else "give a certificate and key"
        say(f"--{name}: others on the network may read the password; {advice}")
