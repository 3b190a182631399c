"""Real receivers of inspections: mosquitto, a PLC of asyncua's server, and a web server.

Each is a process or thread of its own on loopback, can be killed and started again on its port, and
keeps what it got as (id, body) in the order of arrival.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from tests.serve.killing import free_port

Got = list[tuple[str, dict[str, Any]]]


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    def is_open() -> bool:
        assert process.poll() is None, "the receiver did not start"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    wait_for(is_open)


class Mosquitto:
    """The broker; ``config``: lines of its configuration. It keeps sessions on disk at once."""

    def __init__(self, folder: Path, config: str = "allow_anonymous true") -> None:
        self._program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        self._program = shutil.which("mosquitto") or self._program
        if self._program is None:
            pytest.skip("needs mosquitto, which is not on this machine")
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._log = (folder / "mosquitto.log").open("ab")
        user = "user root\n" if Path(folder).owner() == "root" else ""
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\n{user}persistence true\n"
            f"persistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n"
            f"{config}\n"
        )
        self.start()

    def start(self) -> None:
        command = [self._program, "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)
        wait_for_port(self.port, self._process)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it in order, so that it saves what it has acknowledged."""
        self._process.terminate()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        self._log.close()


class Proxy:
    """Passes connections on to a port, as a network does: it may cut them, or lose answers.

    ``loses``: whether an answer to the client does not arrive, by its bytes.
    """

    def __init__(self, port: int) -> None:
        self.loses: Callable[[bytes], bool] = lambda _: False
        self._to, self._open = port, set[socket.socket]()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def admit(self, client: socket.socket) -> bytes | None:
        """What the client says first, to be passed on; None if it is refused."""
        return client.recv(65536)

    def cut(self) -> None:
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                hello = self.admit(client)
                if hello is None:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._to))
                server.sendall(hello)
                self._open |= {client, server}
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        is_answer = source.getpeername()[1] == self._to
        with suppress(OSError):
            while content := source.recv(65536):
                if not (is_answer and self.loses(content)):
                    target.sendall(content)
        for one in (source, target):
            self._open.discard(one)
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        self._server.close()
        self.cut()


class Subscriber:
    """Gets what is published, in a session that outlasts connections; mends its connection."""

    def __init__(self, port: int, topic: str = "mambaad/#", tls: Any = None, user: Any = None):
        self.got: Got = []
        self.statuses: list[str] = []
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=uuid.uuid4().hex, clean_session=False
        )
        subscribed = threading.Event()
        client.on_connect = lambda *_: client.subscribe(topic, qos=1)
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = self._take
        client.reconnect_delay_set(1, 1)
        if tls:
            client.tls_set_context(tls)
        if user:
            client.username_pw_set(*user)
        client.connect("127.0.0.1", port)
        client.loop_start()
        self._client = client
        assert subscribed.wait(20)

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        if message.topic.endswith("/inspections"):
            body = json.loads(message.payload)
            self.got.append((body["id"], body))
        else:
            self.statuses.append(message.payload.decode())

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Plc:
    """A server with the nodes of an inspection; see tests/serve/plc.py."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port, self._file, self._options = free_port(), folder / "plc.jsonl", options
        self.url = f"opc.tcp://127.0.0.1:{self.port}/"
        self._log = (folder / "plc.log").open("ab")
        self.start()

    def start(self, *options: str) -> None:
        self._options = options or self._options
        program = [sys.executable, "-m", "tests.serve.plc", str(self.port), str(self._file)]
        self._process = subprocess.Popen(
            [*program, *self._options], stdout=self._log, stderr=subprocess.STDOUT
        )
        wait_for_port(self.port, self._process)

    @property
    def got(self) -> Got:
        if not self._file.exists():
            return []
        lines = self._file.read_text(encoding="utf-8").splitlines()
        return [(one["Id"], one) for one in map(json.loads, lines)]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        self._log.close()


class Hook:
    """A web server; ``answers`` are the statuses of the first posts, 204 afterwards."""

    def __init__(self, *answers: int) -> None:
        self.got: Got = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.seen: list[str] = []
        self._answers = list(answers)
        self._lock = threading.Lock()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self.start()

    def start(self) -> None:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                body = json.loads(content)
                with hook._lock:
                    hook.seen.append(body["id"])
                    status = hook._answers.pop(0) if hook._answers else 204
                    if status == 204:
                        hook.got.append((self.headers["idempotency-key"], body))
                        hook.headers.append({k.lower(): v for k, v in self.headers.items()})
                        hook.bodies.append(content)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def kill(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def close(self) -> None:
        self.kill()
