"""A process that has imported the package, and forks itself for every command it is asked to run.

A forked copy costs hundredths of a second where a new process costs seconds, and whatever happens
to it (a crash, a hang, a full memory) happens to nothing else. Jobs come as lines of JSON on the
standard input; each is answered by a line when it begins, and by one when it ends.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import multiprocessing.util
import os
import resource
import selectors
import signal
import struct
import sys
import threading
import traceback
import weakref
from pathlib import Path
from typing import Any

_SUBREAPER, _DIE_WITH_PARENT = 36, 1  # from Linux's prctl.h
_PRELOADED = (
    *("torch", "timm", "lightning_fabric", "scipy.stats", "matplotlib.figure", "yaml", "jinja2"),
    *("mambaad.cli.app", "mambaad.inference.torch_engine", "mambaad.inspection.inspector"),
    *("mambaad.report.inspection_page", "mambaad.workflows.benchmark.plan"),
    *(
        f"mambaad.workflows.{name}"
        for name in (
            *("bundle", "calibrate", "evaluate", "export", "extend", "import_checkpoint"),
            *("monitor", "plan", "predict", "suspects", "train"),
        )
    ),
)
_OPTIONAL = {
    "pyarrow": (
        *("pyarrow.csv", "mambaad.workflows.inspect_page", "mambaad.workflows.evaluate_records"),
    ),
    "onnxscript": ("onnxscript", "onnx.inliner", "mambaad.export.targets"),
}
"""What is imported where a package is installed; onnxruntime starts a thread, and is quick."""
_FORK_SAFE = {"jemalloc_bg_thd"}
"""Threads that a copy of the process starts anew, by their names: pyarrow's allocator has one."""


def main() -> None:
    prctl = ctypes.CDLL(None).prctl
    prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    prctl(_SUBREAPER, 1)  # whatever a killed job leaves running becomes a child of this process
    jobs, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    optional = (names for key, names in _OPTIONAL.items() if importlib.util.find_spec(key))
    for name in (*_PRELOADED, *(name for names in optional for name in names)):
        importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)
    # A copy of a process with threads may hang.
    names = (path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
    threads = [name for name in names if name not in _FORK_SAFE]
    assert len(threads) == 1, f"something starts threads when imported: {threads}"
    gc.collect()
    gc.freeze()
    print(json.dumps({"ready": os.getpid()}), file=answers, flush=True)
    _serve(jobs, answers)


def _serve(jobs: Any, answers: Any) -> None:
    selector = selectors.DefaultSelector()
    selector.register(jobs, selectors.EVENT_READ)
    running: dict[int, tuple[int, int]] = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is jobs:
                line = jobs.readline()
                if not line:
                    return
                job = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    os.close(jobs.fileno())
                    os.close(answers.fileno())
                    run(job)
                watched = os.pidfd_open(pid)
                running[watched] = (job["id"], pid)
                selector.register(watched, selectors.EVENT_READ)
                answer = {"id": job["id"], "pid": pid}
            else:
                number, pid = running.pop(key.fd)
                selector.unregister(key.fd)
                os.close(key.fd)
                _, status, usage = os.wait4(pid, 0)
                code = os.waitstatus_to_exitcode(status)
                answer = {"id": number, "code": code, "memory": usage.ru_maxrss / 1024}
            print(json.dumps(answer), file=answers, flush=True)


def run(job: dict[str, Any]) -> None:
    """Be the command that a job describes, and end."""
    os.setsid()
    # Of what runs at the end only that which a command needs: the rest takes a tenth of a second.
    atexit._clear()
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    atexit.register(weakref.finalize._exitfunc)  # type: ignore[attr-defined]
    atexit.register(multiprocessing.util._exit_function)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for target, path in ((1, job["stdout"]), (2, job["stderr"])):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(file, target)
        os.close(file)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    os.chdir(job["cwd"])
    os.environ.update(job["environment"])
    import tempfile

    tempfile.tempdir = None  # it keeps what it found before
    os.umask(job["umask"])
    for name, value in job["limits"].items():
        if name == "RLIMIT_AS":  # beyond what the copy begins with
            value += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(getattr(resource, name), (value, value))
    if job["unprivileged"]:
        _drop_capabilities()
    _end(_code_of(job))


def _drop_capabilities() -> None:
    """Give up what root may do beyond other users, such as to read what permissions forbid."""
    header = struct.pack("Ii", 0x20080522, 0)  # version 3 of Linux's capability.h, this process
    if ctypes.CDLL(None, use_errno=True).capset(header, bytes(24)):
        raise OSError(ctypes.get_errno(), "capset")


def _code_of(job: dict[str, Any]) -> int:
    """Run the command as the interpreter would; returns its exit code."""
    try:
        sys.argv = ["mambaad", *job["argv"]]
        sys.modules["__main__"].__package__ = None  # from which usage lines take their names
        if job["call"]:
            _call(job["call"], job["argv"])
        else:
            importlib.import_module("mambaad.cli.app").main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except KeyboardInterrupt:
        traceback.print_exc()
        return 130
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _call(name: str, arguments: list[str]) -> None:
    """Call a function of the package with its errors shown as the command line shows them."""
    from mambaad.errors import MambaADError
    from mambaad.files import printable

    module, function = name.split(":")
    try:
        getattr(importlib.import_module(module), function)(*arguments)
    except MambaADError as error:
        print(f"mambaad: {printable(str(error))}", file=sys.stderr)
        sys.exit(1)


def _end(code: int) -> None:
    """End as the interpreter does, without the time it takes to tidy up."""
    with contextlib.suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code & 255)


if __name__ == "__main__":
    main()
