"""MQTT: each inspection is published to a broker as JSON, with QoS 1.

``PREFIX/inspections`` has the inspections; ``PREFIX/status`` is retained and says ``online`` or
``offline``, which the broker says itself if the service is gone (last will). MQTT 5, where a broker
says when it refuses a message; 3.1.1 with brokers that know no better.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from mambaad.errors import ConfigError
from mambaad.serve.sinks.access import MqttAccess
from mambaad.serve.sinks.sink import Refused

_SECONDS = 10.0  # to connect, and for an acknowledgement
_KEEP_ALIVE = 30
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_UNSUPPORTED_VERSION = "Unsupported protocol version"


class Mqtt:
    """Publishes inspections; one is taken when the broker acknowledges it.

    paho's own thread talks to the broker, and tells the event loop. A connection that broke is not
    mended but replaced, so that the outbox alone decides what is sent again.

    Args:
        url: ``mqtt://host[:port]``, or ``mqtts://`` for TLS.
        topic: the prefix.
        client_id: of this service; the broker ends an older connection of the same name.
        access: user, certificates.

    Raises:
        ConfigError: a file of a certificate cannot be used.
    """

    at_once = 20

    def __init__(self, url: str, topic: str, client_id: str, access: MqttAccess) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._topic, self._client_id, self._access = topic, client_id, access
        self._tls = _tls_context(access) if parts.scheme == "mqtts" else None
        self._protocol = MQTTv5
        self._connection: _Connection | None = None

    async def connect(self) -> None:
        """Connect unless it is connected (OSError: the broker is not there, or refuses)."""
        if self._connection is not None and not self._connection.is_lost:
            return
        await self.close()
        connection = _Connection(self._make_client())
        try:
            reason = await connection.open(self._host, self._port)
            if reason.getName() == _UNSUPPORTED_VERSION and self._protocol == MQTTv5:
                self._protocol = MQTTv311
            if reason.is_failure:
                raise ConnectionError(f"the broker refuses the connection: {reason}")
            await connection.publish(self._status, "online", retain=True)
        except BaseException:
            await connection.close(with_will=True)  # "online" may be there by now
            raise
        self._connection = connection

    async def send(self, event_id: str, payload: str) -> None:
        """Publish one (Refused: the broker does not let us; OSError: it is not there)."""
        if self._connection is None:
            raise ConnectionError("there is no connection")
        await self._connection.publish(f"{self._topic}/inspections", payload, retain=False)

    async def close(self) -> None:
        """Say that the service is offline, and disconnect."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        said = False
        try:
            await connection.publish(self._status, "offline", retain=True)
            said = True
        except (OSError, Refused):
            pass  # the broker says it
        finally:
            await connection.close(with_will=not said)

    @property
    def _status(self) -> str:
        return f"{self._topic}/status"

    def _make_client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=self._protocol,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _SECONDS
        client.will_set(self._status, "offline", qos=1, retain=True)
        if self._access.user is not None:
            password = self._access.password
            client.username_pw_set(
                self._access.user, password.get_secret_value() if password else None
            )
        if self._tls is not None:
            client.tls_set_context(self._tls)
        return client


class _Connection:
    """A connection to a broker, from its beginning to its end."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._waiting: dict[int, asyncio.Future[ReasonCode]] = {}  # by the number of the message
        self.is_lost = False

        # They run in paho's thread.
        def on_connect(
            _: Client, __: Any, ___: ConnectFlags, reason: ReasonCode, ____: Properties | None
        ) -> None:
            self._tell(self._set_opened, reason)

        def on_publish(
            _: Client, __: Any, number: int, reason: ReasonCode, ___: Properties | None
        ) -> None:
            self._tell(self._set_taken, number, reason)

        def on_disconnect(
            _: Client, __: Any, ___: DisconnectFlags, reason: ReasonCode, ____: Properties | None
        ) -> None:
            self._tell(self._set_lost, str(reason))

        client.on_connect, client.on_publish = on_connect, on_publish
        client.on_disconnect = on_disconnect

    async def open(self, host: str, port: int) -> ReasonCode:
        """Connect; returns what the broker answers (OSError: it does not)."""
        await asyncio.to_thread(self._client.connect, host, port, _KEEP_ALIVE)
        self._client.loop_start()
        return await _within(self._opened)

    async def publish(self, topic: str, payload: str, *, retain: bool) -> None:
        """Publish a message with QoS 1; returns when the broker has it (OSError, Refused)."""
        if self.is_lost:
            raise ConnectionError("the connection is lost")
        info = self._client.publish(topic, payload.encode(), qos=1, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ConnectionError("the connection is lost")
        # The answer, if it is there by now, waits for its turn in the event loop.
        taken = self._waiting[info.mid] = self._loop.create_future()
        try:
            reason = await _within(taken)
        finally:
            self._waiting.pop(info.mid, None)
        if reason.is_failure:
            raise Refused(f"the broker refuses it: {reason}")

    async def close(self, *, with_will: bool) -> None:
        """Disconnect, and end paho's thread; ``with_will``: so that the broker says the will."""
        ours = self._client.socket() if with_will else None
        if isinstance(ours, socket.socket):
            with suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)
        else:
            self._client.disconnect()  # in order, after which a broker forgets the will
        await asyncio.to_thread(self._client.loop_stop)
        self._set_lost("closed")

    def _tell(self, call: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _set_opened(self, reason: ReasonCode) -> None:
        if not self._opened.done():
            self._opened.set_result(reason)

    def _set_taken(self, number: int, reason: ReasonCode) -> None:
        taken = self._waiting.pop(number, None)
        if taken is not None and not taken.done():
            taken.set_result(reason)

    def _set_lost(self, reason: str) -> None:
        self.is_lost = True
        for future in (self._opened, *self._waiting.values()):
            if not future.done():
                future.set_exception(ConnectionError(f"the connection is lost ({reason})"))
                future.exception()  # whoever waits gets it; nobody may
        self._waiting.clear()


async def _within(future: asyncio.Future[ReasonCode]) -> ReasonCode:
    try:
        return await asyncio.wait_for(asyncio.shield(future), _SECONDS)
    except asyncio.TimeoutError:
        raise ConnectionError(f"the broker did not answer within {_SECONDS:g} s") from None


def _tls_context(access: MqttAccess) -> ssl.SSLContext:
    """Verified TLS, by the system's certificates or those given (ConfigError)."""
    try:
        context = ssl.create_default_context(cafile=access.ca)
        if access.certificate is not None:
            context.load_cert_chain(access.certificate, access.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"--mqtt: {access.ca or access.certificate} is not usable ({error}); give PEM files"
        ) from None
    return context
