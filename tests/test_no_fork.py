"""The package forks no process: PyTorch's threads, and the kernels', do not survive it and hang."""

import ast
from pathlib import Path

import mambaad
from mambaad.process import process_context

SOURCE = Path(mambaad.__file__).parent
STARTS = ("Process", "Pool", "Queue", "Manager", "Pipe")


def forks_of(code):
    """What of some code may start a process by fork, the default of Python on Linux."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {keyword.arg for keyword in node.keywords}
        method = [a.value for a in node.args if isinstance(a, ast.Constant)]
        if (
            called in ("os.fork", "os.forkpty")
            or called in [f"{m}.{s}" for m in ("multiprocessing", "mp") for s in STARTS]
            or (called.endswith("ProcessPoolExecutor") and "mp_context" not in given)
            or (called.endswith(("get_context", "set_start_method")) and method in ([], ["fork"]))
            or (called.endswith("DataLoader") and "num_workers" in given)
        ):
            yield called


def test_nothing_is_forked():
    for path in SOURCE.rglob("*.py"):
        assert not list(forks_of(path.read_text(encoding="utf-8"))), path
    assert process_context().get_start_method() in ("forkserver", "spawn")


def test_forks_are_found():
    for code in (
        "os.fork()",
        "multiprocessing.Pool(2)",
        "ProcessPoolExecutor(2)",
        "multiprocessing.get_context('fork')",
        "multiprocessing.get_context()",
        "DataLoader(images, num_workers=2)",
    ):
        assert list(forks_of(code)), code
    assert not list(forks_of("ProcessPoolExecutor(2, mp_context=get_context('spawn'))"))
