"""OPC UA: each inspection is written to the nodes of a server, such as a PLC's.

The service is the client: the server of a PLC or of a plant's gateway is there already, and every
inspection is acknowledged. The nodes are found by a pattern, ``ns=2;s=MambaAD.{name}``; ``Id`` must
exist, and of the others those are written that do. ``Id`` is written last, in a request of its own:
when it changes, all others are of the new inspection. If there is a node ``Acknowledged``, the next
inspection is written once it equals ``Id``.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import CertProperties
from cryptography import x509

from mambaad.errors import ConfigError
from mambaad.serve.sinks.access import OpcUaAccess
from mambaad.serve.sinks.sink import Refused

_SECONDS = 5.0  # for the answer to a request
_ACKNOWLEDGE_SECONDS = 10.0
_LOOK_SECONDS = 0.02
_ID, _ACKNOWLEDGED = "Id", "Acknowledged"
NAMES = (
    *("Verdict", "VerdictCode", "Score", "Product", "Serial", "Reason", "Time", "Bundle", "Json"),
    *(_ID, _ACKNOWLEDGED),
)
"""The names of the nodes."""
CODES = {None: 0, "PASS": 1, "REVIEW": 2, "FAIL": 3, "UNKNOWN PRODUCT": 4, "BAD IMAGE": 5}
"""The numbers of verdicts, for programs that do not compare text."""
_VT = ua.VariantType
_INTEGERS = (
    *(_VT.Byte, _VT.Int16, _VT.Int32, _VT.Int64),
    *(_VT.SByte, _VT.UInt16, _VT.UInt32, _VT.UInt64),
)


def values_of(payload: str) -> dict[str, Any]:
    """What the nodes get of an inspection, by their names; None for what it does not have."""
    inspection: Mapping[str, Any] = json.loads(payload)
    return {
        "Verdict": inspection["verdict"],
        "VerdictCode": CODES[inspection["verdict"]],
        "Score": inspection["score"],
        "Product": inspection["product"],
        "Serial": inspection["serial"],
        "Reason": inspection["error"] or inspection["reason"],
        "Time": inspection["inspected_at"],
        "Bundle": inspection["bundle"],
        "Json": payload,
        _ID: inspection["id"],
    }


class OpcUa:
    """Writes inspections to nodes; one is taken when it is written, or acknowledged.

    Args:
        url: ``opc.tcp://host:port/path``.
        pattern: of the ids of the nodes, with ``{name}``.
        access: user, certificates.

    Raises:
        ConfigError: a file of a certificate cannot be used.
    """

    at_once = 1

    def __init__(self, url: str, pattern: str, access: OpcUaAccess) -> None:
        self._url, self._pattern, self._access = url, pattern, access
        self._security: _Security | None = None
        if access.certificate is not None and access.key is not None:
            self._security = _Security(access.certificate, access.key, access.server_certificate)
        self._client: Client | None = None
        self._nodes: dict[str, tuple[Node, ua.VariantType]] = {}

    async def connect(self) -> None:
        """Connect and find the nodes, or see that the server answers.

        Raises:
            OSError: it does not answer, or has no such nodes. Others: asyncua's.
        """
        if self._client is not None:
            try:
                await self._nodes[_ID][0].read_value()
                return
            except Exception:  # the connection is lost
                await self.close()
        client = Client(self._url, timeout=_SECONDS)
        if self._access.user is not None:
            client.set_user(self._access.user)
        if self._access.password is not None:
            client.set_password(self._access.password.get_secret_value())
        if self._security is not None:
            await self._security.apply(client)
        await client.connect()
        self._client = client
        try:
            self._nodes = {}
            for name in NAMES:
                node = client.get_node(self._pattern.format(name=name))
                try:
                    self._nodes[name] = node, await node.read_data_type_as_variant_type()
                except ua.uaerrors.BadNodeIdUnknown:
                    continue
            if _ID not in self._nodes:
                raise OSError(f"the server has no node {self._pattern.format(name=_ID)}")
        except BaseException:
            await self.close()
            raise

    async def send(self, event_id: str, payload: str) -> None:
        """Write one.

        Raises:
            Refused: a node does not take its value.
            OSError: the server cannot be reached, or it was not acknowledged. Others: asyncua's.
        """
        values = values_of(payload)
        await self._write({name: value for name, value in values.items() if name != _ID})
        await self._write({_ID: event_id})
        if _ACKNOWLEDGED in self._nodes:
            await self._acknowledged(event_id)

    async def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):  # it may be gone
                await asyncio.wait_for(client.disconnect(), _SECONDS)

    async def _write(self, values: Mapping[str, Any]) -> None:
        names = [name for name in values if name in self._nodes]
        if self._client is None:
            raise ConnectionError("there is no connection")
        if not names:
            return
        typed = [_typed(values[name], self._nodes[name][1]) for name in names]
        results = await self._client.write_values(
            [self._nodes[name][0] for name in names], typed, raise_on_partial_error=False
        )
        for name, result in zip(names, results, strict=True):
            if not result.is_good():
                raise Refused(f"{self._pattern.format(name=name)} does not take it: {result.name}")

    async def _acknowledged(self, event_id: str) -> None:
        node = self._nodes[_ACKNOWLEDGED][0]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _ACKNOWLEDGE_SECONDS
        while await node.read_value() != event_id:
            if loop.time() > deadline:
                where = self._pattern.format(name=_ACKNOWLEDGED)
                raise ConnectionError(
                    f"{where} does not have its id within {_ACKNOWLEDGE_SECONDS:g} s"
                )
            await asyncio.sleep(_LOOK_SECONDS)


def _typed(value: Any, kind: ua.VariantType) -> ua.DataValue:
    """A value as a node of a type takes it."""
    if kind in _INTEGERS:
        converted: Any = int(value or 0)
    elif kind in (_VT.Float, _VT.Double):
        converted = math.nan if value is None else float(value)
    elif kind == _VT.DateTime:
        moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        converted = moment.astimezone(timezone.utc).replace(tzinfo=None)
    else:
        converted = "" if value is None else str(value)
    return ua.DataValue(ua.Variant(converted, kind))


class _Security:
    """The certificates of a connection that signs and encrypts.

    Raises:
        ConfigError: a file that cannot be read, or is no certificate.
    """

    def __init__(self, certificate: Path, key: Path, server: Path | None) -> None:
        self._certificate, self._key = _read(certificate), _read(key)
        self._server = _read(server) if server else None
        is_pem = self._certificate.extension == "pem"
        load = x509.load_pem_x509_certificate if is_pem else x509.load_der_x509_certificate
        self._uri: str | None = None
        try:
            content = self._certificate.path_or_content
            assert isinstance(content, bytes)  # as it was read
            names = load(content).extensions
            name = names.get_extension_for_class(x509.SubjectAlternativeName).value
            self._uri = name.get_values_for_type(x509.UniformResourceIdentifier)[0]
        except ValueError:
            raise ConfigError(
                f"--opcua: {certificate} is no certificate; give PEM or DER"
            ) from None
        except (x509.ExtensionNotFound, IndexError):
            pass  # servers may ask for it, and will say so

    async def apply(self, client: Client) -> None:
        """Have a client use them."""
        client.application_uri = self._uri or client.application_uri
        await client.set_security(
            SecurityPolicyBasic256Sha256,
            self._certificate,
            self._key,
            server_certificate=self._server,
        )


def _read(path: Path) -> CertProperties:
    """A file of a certificate or key, PEM or DER by its content (ConfigError)."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--opcua: {path} cannot be read ({error.strerror})") from None
    return CertProperties(content, "pem" if content.startswith(b"-----") else "der")
