"""The line between the first of the processes that train together and each of the others.

It carries what the collectives of ``torch.distributed`` cannot: what is to be done, why it ended,
and that a process or a machine is gone. The kernel closes the connections of a process that ends,
however it does, and probes those of a machine that is silent: so nobody waits for half an hour, and
a process that is only slow, or halted for a while, counts as alive.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from mambaad.errors import RunError, ToldError
from mambaad.launch import Launch

JOIN_S = 300.0
"""Seconds in which all processes must have come: importing PyTorch takes some of them long."""
_SILENT_S, _PROBE_S, _PROBES = 10, 5, 4
"""A silent connection is probed after 10 s, every 5 s, and is lost after 4 probes: 30 s."""
_GRACE_S = 15.0
"""Seconds for the main thread to end by itself: to write what it writes, or by an error of the
collective that it is in."""
_TOKEN, _RANK = 32, 8
"""Characters of a greeting: the token, and the rank with leading zeros."""

Address = tuple[str, int, str]
"""Host, port, and a token that shows who is one of us."""


class LostError(RunError):
    """Another process of this training has ended; says which one, and how to resume."""


class Peer(NamedTuple):
    """A connection with another process: its messages, and its socket."""

    messages: Connection
    socket: socket.socket

    def send(self, kind: str, message: Any = None) -> None:
        """Send a message; to a process that is gone, nothing (the watching thread sees to it)."""
        with contextlib.suppress(OSError):
            self.messages.send((kind, message))

    def close(self) -> None:
        """Close both."""
        self.messages.close()
        self.socket.close()


class Link:
    """Connections of the first process with all others, or of another with the first.

    A thread watches them. If one is lost, :meth:`hear` and :meth:`check` raise, and if the main
    thread does not end within 15 s, as it waits for a process that is gone, this process is ended,
    with exit code 1 and a line on standard error.

    Args:
        launch: this process's place.
        peers: the connections, by rank.
        advice: what to do if one is lost, for messages.
    """

    def __init__(self, launch: Launch, peers: dict[int, Peer], advice: str) -> None:
        self._launch = launch
        self._peers = peers
        self._advice = advice
        self._heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._lost: RunError | None = None
        self._is_lost = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="link", daemon=True)
        self._thread.start()

    def tell(self, message: Any) -> None:
        """Send a message to the other side: from the first process, to all others."""
        self._send("said", message)

    def hear(self) -> Any:
        """Wait for the next message (LostError, ToldError: its sender is gone, or has failed)."""
        message = self._heard.get()
        if isinstance(message, RunError):
            self._ended.set()
            raise message
        return message

    def check(self, seconds: float) -> None:
        """Raise a LostError or ToldError if a process is lost within some seconds."""
        if self._is_lost.wait(seconds):
            assert self._lost is not None
            self._ended.set()
            raise self._lost

    def release(self) -> None:
        """Go on alone: it does not matter any more whether the others are there."""
        self._ended.set()

    def close(self, failure: str | None = None) -> None:
        """End; with ``failure``, tell the others first why this process ends."""
        self._ended.set()
        self._send(*(("closed", None) if failure is None else ("failed", failure)))
        if failure is None:
            self._thread.join(_GRACE_S)  # until the others have closed, too
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, if it still waits
        self._thread.join(_GRACE_S)
        for peer in self._peers.values():
            peer.close()

    def _send(self, kind: str, message: Any, but: int | None = None) -> None:
        with self._sending:
            for rank, peer in self._peers.items():
                if rank != but:
                    peer.send(kind, message)

    def _watch(self) -> None:
        ranks = {peer.messages: rank for rank, peer in self._peers.items()}
        while ranks:
            for found in wait(list(ranks)):
                assert isinstance(found, Connection)
                try:
                    kind, message = found.recv()
                except (EOFError, OSError):  # it is gone, or its machine does not answer
                    kind, message = "lost", None
                if kind == "said":
                    self._heard.put(message)
                    continue
                rank = ranks.pop(found)
                if kind == "closed" and not self._launch.is_first:
                    self._heard.put(ToldError("process 0 has ended"))
                if kind != "closed" and not self._ended.is_set():
                    self._lose(rank, message)
                    return

    def _lose(self, rank: int, reason: str | None) -> None:
        told = f"process {rank} of {self._launch.processes}"
        if reason is None:
            self._lost = LostError(f"{told} is gone (it ended or its machine did); {self._advice}")
        elif self._launch.is_first:
            self._lost = LostError(f"{told} failed ({reason}); {self._advice}")
        elif self._launch.local_rank == 0:  # on another machine, whose log needs a line, too
            self._lost = LostError(reason)
        else:
            self._lost = ToldError(reason)
        self._heard.put(self._lost)
        self._is_lost.set()
        if self._launch.is_first:  # the others need not find out by themselves
            self._send("failed", str(self._lost), but=rank)
        if self._ended.wait(_GRACE_S):
            return
        if not isinstance(self._lost, ToldError):
            print(f"mambaad: {self._lost}", file=sys.stderr, flush=True)
        os._exit(1)  # the main thread waits in a collective that nothing can end


def listen(host: str) -> tuple[socket.socket, Address]:
    """Open the first process's end, where the others reach it.

    Args:
        host: the address that the others know this machine by (MASTER_ADDR).
    """
    family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:  # an address that leads here, but is not this machine's own
        server = socket.create_server(("", 0), family=family)
    return server, (host, server.getsockname()[1], secrets.token_hex(_TOKEN // 2))


def accept(server: socket.socket, address: Address, launch: Launch, advice: str) -> Link:
    """Wait for all others (RunError: some have not come within 5 min).

    Whoever connects is greeted beside the others: one that says nothing, or half of what it should,
    keeps nobody waiting.
    """
    missing = set(range(1, launch.processes))
    peers: dict[int, Peer] = {}
    until = time.monotonic() + JOIN_S
    with server, selectors.DefaultSelector() as waiting:
        server.setblocking(False)
        waiting.register(server, selectors.EVENT_READ)
        while missing and (left := until - time.monotonic()) > 0:
            for key, _ in waiting.select(left):
                if key.data is None:
                    with contextlib.suppress(BlockingIOError):  # it has gone again
                        connected = server.accept()[0]
                        connected.setblocking(False)
                        waiting.register(connected, selectors.EVENT_READ, (connected, bytearray()))
                    continue
                connected, said = key.data
                if not _is_greeted(connected, said):
                    continue
                waiting.unregister(connected)
                if (rank := _rank(said, address[2])) in missing:
                    missing.remove(rank)
                    peers[rank] = _peer(connected)
                else:
                    connected.close()
        for key in waiting.get_map().values():
            if key.data:
                key.data[0].close()
    if missing:
        for peer in peers.values():
            peer.close()
        raise RunError(
            f"of {launch.processes} processes {_listed(sorted(missing))} did not come within "
            f"{JOIN_S / 60:.0f} min; see their messages, then {advice}"
        )
    return Link(launch, peers, advice)


def connect(address: Address, launch: Launch, advice: str) -> Link:
    """Connect with the first process (RunError: it is not there)."""
    host, port, token = address
    try:
        connected = socket.create_connection((host, port), timeout=60)
        connected.sendall(f"{token}{launch.rank:0{_RANK}}".encode())
        peer = _peer(connected)
    except OSError as error:
        raise RunError(
            f"process 0 cannot be reached at {host}:{port} ({error.strerror or error}); open that "
            f"machine's ports to the others, then {advice}"
        ) from error
    return Link(launch, {0: peer}, advice)


def _is_greeted(connected: socket.socket, said: bytearray) -> bool:
    """Read on in a greeting; whether it is at its end."""
    try:
        more = connected.recv(_TOKEN + _RANK - len(said))
    except BlockingIOError:
        return False
    except OSError:
        more = b""
    said += more
    return not more or len(said) == _TOKEN + _RANK


def _rank(said: bytearray, token: str) -> int:
    """Which of us has greeted; -1: a stranger has."""
    is_one_of_us = secrets.compare_digest(bytes(said[:_TOKEN]), token.encode())
    return int(said[_TOKEN:]) if is_one_of_us and said[_TOKEN:].isdigit() else -1


def _peer(connected: socket.socket) -> Peer:
    """Make a connection of messages, which the kernel probes while it is silent."""
    connected.settimeout(None)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
    for option, value in (
        (idle, _SILENT_S),
        (getattr(socket, "TCP_KEEPINTVL", None), _PROBE_S),
        (getattr(socket, "TCP_KEEPCNT", None), _PROBES),
        # Of what was sent and not acknowledged; milliseconds.
        (getattr(socket, "TCP_USER_TIMEOUT", None), 1000 * (_SILENT_S + _PROBES * _PROBE_S)),
    ):
        if option is not None:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)
    return Peer(Connection(os.dup(connected.fileno())), connected)


def _listed(ranks: Sequence[int]) -> str:
    return "number " + ", ".join(map(str, ranks[:10])) + (", ..." if len(ranks) > 10 else "")
