"""A PLC's side of OPC UA: asyncua's server, and the program that takes each inspection.

python -m tests.serve.plc PORT FILE [--silent] [--stopped] [--only NAME ...] [--secure FOLDER]

It appends the values of the nodes to FILE as a line of JSON whenever Id differs from Acknowledged,
and then sets Acknowledged. ``--silent``: there is no Acknowledged, and each change of Id is a line.
``--stopped``: its program does not run. ``--only``: the nodes that there are. ``--secure``: has
server.pem and server.key; only the user "line" may come in, signed and encrypted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.server.user_managers import User, UserRole

KINDS = {
    "Id": ua.VariantType.String,
    "Verdict": ua.VariantType.String,
    "VerdictCode": ua.VariantType.Int16,
    "Score": ua.VariantType.Float,
    "Product": ua.VariantType.String,
    "Serial": ua.VariantType.String,
    "Reason": ua.VariantType.String,
    "Time": ua.VariantType.DateTime,
    "Bundle": ua.VariantType.String,
    "Json": ua.VariantType.String,
    "Acknowledged": ua.VariantType.String,
}
EMPTY: dict[Any, Any] = {ua.VariantType.Int16: 0, ua.VariantType.Float: 0.0}


class Login:
    def get_user(self, _server: Any, username: Any = None, password: Any = None, **_: Any) -> Any:
        right = (username, password) == ("line", "a password")
        return User(role=UserRole.Admin, name="line") if right else None


async def run(options: argparse.Namespace) -> None:
    server = Server(user_manager=Login()) if options.secure else Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{options.port}/")
    if options.secure:
        folder = Path(options.secure)
        await server.load_certificate(str(folder / "server.pem"))
        await server.load_private_key(str(folder / "server.key"), format="pem")
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
    await server.register_namespace("http://mambaad.test")
    nodes = {}
    for name, kind in KINDS.items():
        if options.only and name not in options.only:
            continue
        if options.silent and name == "Acknowledged":
            continue
        value = ua.get_default_value(kind) if kind not in EMPTY else EMPTY[kind]
        value = "" if kind == ua.VariantType.String else value
        nodes[name] = await server.nodes.objects.add_variable(
            ua.NodeId(f"MambaAD.{name}", 2), name, value, kind
        )
        await nodes[name].set_writable()
    async with server:
        last = ""
        with Path(options.file).open("a", encoding="utf-8") as file:
            while True:
                await asyncio.sleep(0.005)
                if options.stopped:
                    continue
                new = await nodes["Id"].read_value()
                if "Acknowledged" in nodes:
                    last = await nodes["Acknowledged"].read_value()
                if new == last:
                    continue
                values = {name: await node.read_value() for name, node in nodes.items()}
                file.write(json.dumps(values, default=str) + "\n")
                file.flush()
                last = new
                if "Acknowledged" in nodes:
                    await nodes["Acknowledged"].write_value(new)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("file")
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--stopped", action="store_true")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--secure")
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(run(parser.parse_args()))
