"""The line between processes that train together: messages, ends, strangers."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from mambaad.errors import RunError, ToldError
from mambaad.launch import Launch
from mambaad.training import link as module
from mambaad.training.link import Link, LostError, accept, connect, listen

ADVICE = "resume with: the command"


@pytest.fixture
def linked() -> Iterator[Callable[..., list[Link]]]:
    """Make the ends of all processes, the first one's first."""
    made: list[Link] = []
    staying: list[socket.socket] = []

    def link(
        processes: int, machine: int = 99, strangers: Sequence[bytes] = (), stay: bool = False
    ) -> list[Link]:
        local = min(machine, processes)
        launches = [Launch(rank, processes, rank % local, local) for rank in range(processes)]
        server, address = listen("127.0.0.1")
        accepting = threading.Thread(
            target=lambda: made.append(accept(server, address, launches[0], ADVICE))
        )
        accepting.start()
        for said in strangers:
            stranger = socket.create_connection(address[:2])
            stranger.sendall(said)
            if stay:
                staying.append(stranger)
            else:
                stranger.close()
        others = [connect(address, launch, ADVICE) for launch in launches[1:]]
        accepting.join()
        made.extend(others)
        return made

    yield link
    for stranger in staying:
        stranger.close()
    for each in made:
        each.close("the end of the test")


def cut(link: Link) -> None:
    """Let the kernel close a connection, as at the end of a process."""
    for peer in link._peers.values():
        peer.socket.shutdown(socket.SHUT_RDWR)


def close(links: list[Link]) -> None:
    threads = [threading.Thread(target=link.close) for link in links]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_what_the_first_says_all_others_hear_in_order(linked):
    first, *others = linked(3)
    first.tell({"images": list(range(100_000))})
    first.tell(None)
    for other in others:
        assert other.hear() == {"images": list(range(100_000))}
        assert other.hear() is None
    began = time.monotonic()
    close([first, *others])
    assert time.monotonic() - began < 5  # nobody waits for one who has closed


def test_the_first_says_who_is_gone_and_the_others_are_told(linked):
    first, second, third = linked(3)
    cut(second)
    with pytest.raises(LostError, match=r"process 1 of 3 is gone .*; resume with: the command"):
        first.check(10)
    with pytest.raises(ToldError):
        third.hear()


def test_the_others_say_that_the_first_is_gone(linked):
    first, second = linked(2)
    cut(first)
    with pytest.raises(LostError, match=r"process 0 of 2 is gone .*; resume with: the command"):
        second.hear()


def test_a_failure_is_said_with_its_reason_once_a_machine(linked):
    first, *others = linked(4, machine=2)
    others[0].close("no room")
    with pytest.raises(LostError, match=r"process 1 of 4 failed \(no room\)"):
        first.hear()
    with pytest.raises(LostError, match="no room"):  # the first of the second machine
        others[1].hear()
    with pytest.raises(ToldError):
        others[2].hear()


def test_who_goes_on_alone_does_not_mind_an_end(linked):
    first, second = linked(2)
    first.release()
    cut(second)
    with pytest.raises(LostError):
        second.check(10)
    first.check(0.1)
    close([first, second])


def test_who_waits_for_the_first_hears_that_it_has_closed(linked):
    first, second = linked(2)
    first.release()
    threading.Thread(target=first.close).start()
    with pytest.raises(ToldError, match="has ended"):
        second.hear()
    second.close()


def test_a_stranger_is_none_of_us(linked):
    said = (b"GET / HTTP/1.1\r\n\r\n", b"0" * 40, b"0" * 32 + b"00000001", b"\xff" * 100, b"")
    first, second = linked(2, strangers=said)
    first.tell("hello")
    assert second.hear() == "hello"


def test_strangers_who_stay_keep_nobody_waiting(linked):
    began = time.monotonic()
    first, second = linked(
        2, strangers=(b"", b"0" * 20, b"\0\0\0\x30half of a greeting"), stay=True
    )
    assert time.monotonic() - began < 5
    first.tell("hello")
    assert second.hear() == "hello"


def test_a_rank_comes_once():
    server, address = listen("127.0.0.1")
    launch = Launch(0, 3, 0, 3)
    found: list[Link] = []
    accepting = threading.Thread(
        target=lambda: found.append(accept(server, address, launch, ADVICE))
    )
    accepting.start()
    others = [connect(address, Launch(rank, 3, rank, 3), ADVICE) for rank in (1, 1)]
    others.append(connect(address, Launch(2, 3, 2, 3), ADVICE))
    accepting.join()
    assert sorted(found[0]._peers) == [1, 2]
    lost = 0
    for link in others:
        try:
            link.check(1)
        except LostError:
            lost += 1
    assert lost == 1
    for link in (*found, *others):
        link.close("the end of the test")


def test_who_does_not_come_is_named(monkeypatch):
    monkeypatch.setattr(module, "JOIN_S", 0.2)
    server, address = listen("127.0.0.1")
    with pytest.raises(RunError, match="of 3 processes number 1, 2 did not come"):
        accept(server, address, Launch(0, 3, 0, 3), ADVICE)
    with pytest.raises(RunError, match="process 0 cannot be reached"):
        connect(address, Launch(1, 3, 1, 3), ADVICE)


STUCK = """
import sys, time
from mambaad.launch import Launch
from mambaad.training import link

link._GRACE_S = 0.2
host, port, token = sys.argv[1:]
found = link.connect((host, int(port), token), Launch(1, 2, 1, 2), "resume with: the command")
print("here", flush=True)
time.sleep(600)  # as in a collective whose other side is gone
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_process_that_waits_for_one_that_is_gone_is_ended_with_a_line():
    server, address = listen("127.0.0.1")
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, *map(str, address)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    first = accept(server, address, Launch(0, 2, 0, 2), ADVICE)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    # Halted, it is not gone; its connection is still served by the kernel.
    process.send_signal(signal.SIGSTOP)
    first.check(0.3)
    process.send_signal(signal.SIGCONT)
    cut(first)
    _, said = process.communicate(timeout=60)
    first.close("the end of the test")
    assert process.returncode == 1
    assert said.startswith("mambaad: process 0 of 2 is gone")
    assert said.endswith("resume with: the command\n")
