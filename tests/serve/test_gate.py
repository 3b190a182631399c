"""Parts are refused before their bodies come, and a connection is used again after that."""

import socket
import threading
import time
from contextlib import ExitStack, contextmanager

import h11
import pytest
import uvicorn

from mambaad.serve.gate import Protocol


@contextmanager
def running(app, **options):
    config = uvicorn.Config(
        app, port=0, http=Protocol, lifespan="off", log_config=None, access_log=False, **options
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def connected(port):
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
        connection.makefile("rb") as file,
    ):
        yield connection, file


def post(length):
    return (
        b"POST /v1/inspections HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Type: image/png\r\n"
        b"Content-Length: %d\r\n\r\n" % length
    )


def answer(file):
    """The status, headers and body of an answer."""
    status = int(file.readline().split()[1])
    headers = {}
    while (line := file.readline().strip()) != b"":
        name, _, value = line.decode().partition(": ")
        headers[name.lower()] = value
    return status, headers, file.read(int(headers["content-length"]))


def test_a_full_service_refuses_by_the_headers_alone(service):
    intake = service.app.state.service.intake
    before = refusals(service)
    with running(service.app) as port, connected(port) as (connection, file):
        with ExitStack() as places:
            for _ in range(service.app.state.service.settings.queue):
                places.enter_context(intake.place(1))
            connection.sendall(post(2**20))  # and nothing of the body
            status, headers, body = answer(file)
        assert status == 429
        assert b'"queue_full"' in body
        assert int(headers["retry-after"]) >= 1
        assert headers["x-content-type-options"] == "nosniff"
        connection.sendall(bytes(2**20))
        connection.sendall(post(8) + b"no image")  # the same connection, now that there is place
        assert answer(file)[0] == 415
    assert refusals(service) == before + 1


def refusals(service):
    lines = service.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith('mambaad_refused_total{code="queue_full"}')]
    return float(found[0].split()[1]) if found else 0.0


async def hasty(scope, receive, send):
    """Answers with the path, and reads the body only below /read."""
    size = 0
    if scope["path"] == "/read":
        more = True
        while more:
            message = await receive()
            size, more = size + len(message["body"]), message["more_body"]
    body = f"{scope['path']} {size}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def request(path, length):
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path, length)


@pytest.mark.parametrize("first", [0, 1, 70_000])
def test_bodies_that_nobody_reads_are_dropped_to_the_byte(first, monkeypatch):
    parsed = []
    receive_data = h11.Connection.receive_data

    def counted(self, data):
        parsed.append(len(data))
        receive_data(self, data)

    monkeypatch.setattr(h11.Connection, "receive_data", counted)
    with running(hasty) as port, connected(port) as (connection, file):
        for _ in range(3):
            connection.sendall(request(b"/a", 300_000) + bytes(first))
            assert answer(file)[2] == b"/a 0"
            # The rest of the body, and the next request in the same piece.
            connection.sendall(bytes(300_000 - first) + request(b"/read", 5) + b"12345")
            assert answer(file)[2] == b"/read 5"
        assert sum(parsed) < 3 * 300_000  # most of a body is not even looked at
        # One of unknown length is parsed as ever.
        connection.sendall(b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert answer(file)[2] == b"/c 0"
        connection.sendall(b"3\r\nabc\r\n0\r\n\r\n" + request(b"/read", 1) + b"1")
        assert answer(file)[2] == b"/read 1"


def test_a_body_that_never_comes_does_not_hold_its_connection():
    with running(hasty, timeout_keep_alive=1) as port, connected(port) as (connection, file):
        connection.sendall(request(b"/a", 10**9) + bytes(1000))
        assert answer(file)[2] == b"/a 0"
        connection.sendall(bytes(1000))
        assert file.read() == b""  # closed


def test_a_connection_without_whole_headers_is_closed(monkeypatch):
    monkeypatch.setattr("mambaad.serve.gate.HEADER_SECONDS", 0.3)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with running(app) as port, connected(port) as (silent, _), connected(port) as (slow, file):
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert file.readline().split()[1] == b"200"
        slow.sendall(b"GET / HTTP/1.1\r\nHost:")  # the second on this connection
        for one in (silent, slow):
            one.settimeout(10)
            while one.recv(1000):
                pass  # until it is closed


def test_connections_beyond_the_limit_are_closed():
    with running(None, limit_concurrency=3) as port, ExitStack() as stack:
        first = [stack.enter_context(connected(port))[0] for _ in range(3)]
        time.sleep(0.1)
        more, _ = stack.enter_context(connected(port))
        assert more.recv(1) == b""
        first[0].settimeout(0.05)
        with pytest.raises(TimeoutError):  # it is still open
            first[0].recv(1)
