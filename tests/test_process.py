import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from mambaad.files import sweep
from mambaad.process import limit_threads, on_signals, sigterm_as_interrupt

PROGRAM = """
import ctypes, resource, sys
from mambaad.process import keep_freed_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit(3)
libc, address = ctypes.CDLL(None), ctypes.c_void_p()

def use_and_free(size=2**26):  # as PyTorch does for a tensor of 64 MiB
    asked = ctypes.c_size_t(64), ctypes.c_size_t(size)
    assert libc.posix_memalign(ctypes.byref(address), *asked) == 0
    ctypes.memset(address, 1, size)
    libc.free(address)

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(20):  # malloc needs a few until it has joined what is free
    use_and_free()
before = page_faults()
for _ in range(3):
    use_and_free()
print(page_faults() - before)
"""


def page_faults(how):
    command = [sys.executable, "-c", PROGRAM, how]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode == 3:
        pytest.skip("not the C library of GNU")
    assert found.returncode == 0, found.stderr
    return int(found.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults as Linux does")
def test_freed_memory_is_used_again_without_asking_the_kernel():
    assert 10 * page_faults("kept") < page_faults("returned")


@pytest.fixture(autouse=True)
def _restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_no_more_threads_than_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3}, raising=False)
    for asked, found in ((1, 1), (2, 2), (3, 2)):
        torch.set_num_threads(asked)
        limit_threads()
        assert torch.get_num_threads() == found


@pytest.fixture
def former_handlers():
    """Stand-ins for the handlers there were; yields the signals that reach them."""
    reached = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.signal(n, lambda number, _: reached.append(number)) for n in numbers}
    yield reached
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_reacted_to_and_a_second_does_what_it_did_before(
    number, former_handlers
):
    reactions = []
    with on_signals(lambda: reactions.append("stop")):
        signal.raise_signal(number)
        assert (reactions, former_handlers) == (["stop"], [])
        signal.raise_signal(number)
        assert (reactions, former_handlers) == (["stop"], [number])
    signal.raise_signal(number)
    assert (reactions, former_handlers) == (["stop"], [number, number])


def test_sigterm_interrupts_once_and_is_then_ignored(former_handlers):
    def work():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)  # timeout(1) sends two

    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt():
        work()
    assert former_handlers == []
    signal.raise_signal(signal.SIGTERM)
    assert former_handlers == [signal.SIGTERM]


@pytest.mark.parametrize(
    "context", [lambda: on_signals(lambda: None), sigterm_as_interrupt], ids=["on", "as_interrupt"]
)
def test_signals_are_left_alone_outside_the_main_thread(context, former_handlers):
    def work():
        with context():
            entered.append(signal.getsignal(signal.SIGTERM))

    entered = []
    handler = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [handler]


def test_within_another_it_changes_nothing(former_handlers):
    with sigterm_as_interrupt():
        handler = signal.getsignal(signal.SIGTERM)
        with sigterm_as_interrupt():
            assert signal.getsignal(signal.SIGTERM) is handler
        assert signal.getsignal(signal.SIGTERM) is handler


PARENT = """
import multiprocessing, os, sys, threading, time
from concurrent.futures import ProcessPoolExecutor
from mambaad.process import end_with_parent, process_context

def child(connection):
    end_with_parent()
    connection.send(os.getpid())
    time.sleep(60)

if __name__ == "__main__":
    method = sys.argv[1]
    context = process_context() if method == "server" else multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=child, args=(theirs,))
    start = threading.Thread(target=process.start)  # which ends before its process
    start.start()
    start.join()
    pid = ours.recv()
    time.sleep(0.5)
    assert process.is_alive()
    print(pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills as other systems do")
@pytest.mark.parametrize("method", ["server", "spawn", "fork"])
def test_a_process_ends_with_the_one_that_started_it(method, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))  # a socket's path must be short
    parent = subprocess.Popen(
        [sys.executable, script, method],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    began = time.monotonic()
    parent.wait()
    with suppress(psutil.NoSuchProcess):
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.05)
            assert time.monotonic() - began < 20
    parent.stdout.close()
    if method == "server":
        assert list(temporary.iterdir())  # its socket
        sweep(temporary)  # as the next server does
    temporary.rmdir()


def test_a_fork_leaves_the_folder_of_the_server_s_socket(tmp_path):
    program = """
import multiprocessing, os
from mambaad.process import process_context

def nothing():
    pass

if __name__ == "__main__":
    process_context()
    folder = multiprocessing.current_process()._config["tempdir"]
    fork = multiprocessing.get_context("fork").Process(target=nothing)  # as a user's program may
    fork.start()
    fork.join()
    print(os.path.isdir(folder))
"""
    (tmp_path / "forks.py").write_text(program)
    done = subprocess.run(
        [sys.executable, tmp_path / "forks.py"], capture_output=True, text=True, check=False
    )
    assert done.stdout == "True\n", done.stderr


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from mambaad.process import end_with_parent, process_context

SLOW = "import pathlib, time; pathlib.Path('begun').touch(); time.sleep(1)"
Path("slow_import.py").write_text(SLOW)
sys.path.insert(0, os.getcwd())
signal.signal(signal.SIGINT, signal.SIG_IGN)  # of this process: the group gets it

def work(path):
    end_with_parent()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    Path(path).touch()

if __name__ == "__main__":
    context = process_context("slow_import")
    while not Path("begun").exists():
        pass
    os.killpg(0, signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = context.Process(target=work, args=("done",))
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks here")
def test_ctrl_c_while_the_server_imports_ends_no_server(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(INTERRUPTED)
    command = [sys.executable, str(program)]
    found = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, start_new_session=True, timeout=60
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    assert (tmp_path / "done").exists()


KILLED = """
import os, sys, time
from pathlib import Path
from mambaad.process import process_context

Path("slow_import.py").write_text("import time; time.sleep(60)")
sys.path.insert(0, os.getcwd())
if __name__ == "__main__":
    process_context("slow_import")
    time.sleep(1)
    print("it imports", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the server ends when it has imported")
def test_the_server_ends_with_a_killed_parent_while_it_imports(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(KILLED)
    command = [sys.executable, str(program)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as parent:
        parent.stdout.readline()
        servers = psutil.Process(parent.pid).children()
        parent.kill()
    assert servers
    assert not psutil.wait_procs(servers, timeout=20)[1]
