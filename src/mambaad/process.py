"""Settings of this process: its compute threads, its memory, its signals, its parent's end."""

from __future__ import annotations

import ctypes
import functools
import multiprocessing
import multiprocessing.util
import os
import platform
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from typing import Any

from mambaad.files import temporary_folder
from mambaad.fork_server import STARTED_BY
from mambaad.launch import launched

# From glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_PR_SET_PDEATHSIG = 1  # from Linux's prctl.h
_LONGEST_BASE = 58
"""The most bytes of the temporary folder's path: a socket's, below it, has at most 103."""


SPIN_COUNT = 1000
"""How often a thread of GNU's OpenMP looks for work before it sleeps: some microseconds. Where
threads outnumber cores the runtime uses as many by itself; otherwise it looks 300,000 times."""


def wait_passively() -> None:
    """Have OpenMP's idle threads sleep, so that they take no core from other programs.

    They spin by default. Beside a busy program that is worse than no gain: the threads at work
    wait for the core on which another spins. OpenMP reads its environment once, as it is loaded
    with PyTorch; so this is for the command line, which calls it before, and not for programs that
    import this package. What the user has set there is left as it is.
    """
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys()
    if not chosen and "torch" not in sys.modules:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)


def use_threads(count: int) -> int:
    """Compute with so many threads, in this process and those that it starts from now on.

    Returns:
        The number in use: at most the cores that this process may use.
    """
    count = min(count, available_cores())
    for name in THREAD_VARIABLES:  # which the libraries read as they are loaded
        os.environ[name] = str(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)
    return count


THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def available_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_threads() -> None:
    """Lower PyTorch's number of threads to the number of cores this process may use.

    Further threads only wait for each other at the end of every operation: four threads on two
    cores were a third slower than two.
    """
    import torch  # here, so that signals and memory are handled without it

    cores = available_cores()
    if torch.get_num_threads() > cores:
        torch.set_num_threads(cores)


def keep_freed_memory() -> bool:
    """Have glibc's malloc keep freed memory; False where another C library is in use.

    By default it returns every large block to the kernel, which clears each page again when the
    next tensor of that size is first written: up to 0.12 of 0.43 s in a training step. The setting
    is for the whole process, which then keeps the memory of its peak until it ends.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept = bool(mallopt(_TRIM_THRESHOLD, -1)) and bool(mallopt(_TOP_PAD, 2**26))
    # Older versions accept at most 32 MiB.
    return kept and bool(mallopt(_MMAP_THRESHOLD, 2**30) or mallopt(_MMAP_THRESHOLD, 2**25))


def process_context(*modules: str) -> ForkServerContext | SpawnContext:
    """Return a context whose processes begin with ``modules`` imported, where that is possible.

    PyTorch and what is built on it take ten seconds of processor time to import: a server
    process does so once, and each further process is a copy of it. Windows has no such copies.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    _sweep_sockets()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mambaad.fork_server", *modules])
    _start_server()
    return context


def _start_server() -> None:
    """Start the server with Ctrl-C held back: while it imports, it would end with a traceback.

    Its processes begin so, too, until they call :func:`end_with_parent`.
    """
    from multiprocessing import forkserver, resource_tracker  # not on every system

    resource_tracker.ensure_running()  # which would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if threading.current_thread() is threading.main_thread():
        os.environ[STARTED_BY] = str(os.getpid())
    try:
        forkserver.ensure_running()
        _end_server_at_exit()
    finally:
        os.environ.pop(STARTED_BY, None)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@functools.cache
def _end_server_at_exit() -> None:
    """Have the server end with this process, though it may import for seconds to come."""
    from multiprocessing import forkserver

    def end() -> None:
        # Nothing else tells its process; in one that it forked there is none.
        server = getattr(forkserver, "_forkserver", None)
        if pid := getattr(server, "_forkserver_pid", None):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    multiprocessing.util.Finalize(None, end, exitpriority=-50)  # after the ends of its processes


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of PyTorch's too, says that a device or this machine has no memory left."""
    if isinstance(error, MemoryError):
        return True
    texts = (
        *("out of memory", "can't allocate memory", "not enough memory", "bad_alloc"),
        *("could not create a primitive", "can't start new thread"),
        *("bad allocation", "Cannot allocate memory", "CUBLAS_STATUS_ALLOC_FAILED"),
    )
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


@functools.cache
def _sweep_sockets() -> None:
    """Give ``multiprocessing`` a folder for the server's socket that is swept after a kill."""
    config: dict[str, Any] = getattr(multiprocessing.current_process(), "_config", {})
    base, stack = Path(tempfile.gettempdir()), ExitStack()
    if "tempdir" in config or len(os.fsencode(base)) > _LONGEST_BASE:  # the parent's; or too long
        return
    folder = stack.enter_context(temporary_folder())
    config["tempdir"] = str(folder)
    multiprocessing.util.Finalize(None, stack.close, exitpriority=-100)  # after the server's end


_begin: list[Callable[[], None]] = []


def when_server_forks(call: Callable[[], None]) -> None:
    """Have ``call`` called in each process that the server of :func:`process_context` forks.

    The server itself only imports: it has one thread, and what it imports has computed nothing.
    """
    _begin.append(call)


def end_with_parent() -> None:
    """Have this process, which ``multiprocessing`` started, end when the one that started it does.

    It is called first of all in such a process, which otherwise would outlive a parent that is
    killed. A thread waits for the end of a pipe that the parent holds. That takes the interpreter's
    lock; on Linux the kernel kills this process where that is safe, which is under a fork server
    (it ends with the parent): the kernel waits for the *thread* that has forked, and a server has
    one alone.

    From here on Ctrl-C reaches this process; if it was pressed before, the process ends.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if hasattr(signal, "pthread_sigmask"):
        if signal.SIGINT in signal.sigpending():
            os._exit(130)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    server = os.getppid()
    if server != parent.pid:
        for call in _begin:
            call()
    if sys.platform == "linux" and server != parent.pid:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:  # it has ended before
            os._exit(1)

    def wait() -> None:
        parent.join()
        os._exit(1)  # nothing is to be saved that a kill of this process would not lose too

    threading.Thread(target=wait, name="end_with_parent", daemon=True).start()


@contextmanager
def on_signals(react: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM call ``react``; a second signal does what it did before.

    In a process of several that a launcher has started it does nothing: launchers pass on what the
    terminal has sent to all, and kill those that do not end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: Any) -> None:
        if launched() is None:
            signal.signal(number, before[number])
        react()

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Have SIGTERM raise KeyboardInterrupt, as Ctrl-C does; within another such, do nothing."""
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or before is _interrupt:
        yield
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: Any) -> None:
    signal.signal(number, signal.SIG_IGN)  # timeout(1) sends two, which must not stop the rest
    raise KeyboardInterrupt
