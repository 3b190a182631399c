"""Kills a function at each of its changes of files in turn, to see what the next call leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import os, signal, sys, traceback
from pathlib import Path
from mambaad.files import write_text

place, step = Path(sys.argv[1]), int(sys.argv[2])
arguments = [Path(argument) for argument in sys.argv[3:]]
{setup}

def act():
    {action}

EVENTS = {{"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}}

def status_of_child(number):
    # Forked, so that what is imported is so once: the child's number-th change is its last.
    pid = os.fork()
    if pid == 0:
        left = number

        def count(event, arguments):
            nonlocal left
            if event in EVENTS and str(arguments[0]).startswith(str(place)):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        status = 1
        try:
            act()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]

number = 1
while (status := status_of_child(number)) == signal.SIGKILL:
    number += step
write_text(place / "next", "")
print(status, number)
"""


def kill_at_every_change(
    action: str, place: Path, *arguments: Path, setup: str = "", step: int = 1
) -> int:
    """Run an action until it comes to its end: killed at its first change, its second, and so on.

    In the end another file is written to ``place``, as by the next command.

    Args:
        action: a statement, for which ``place`` and ``arguments`` are paths.
        place: the folder whose changes count.
        arguments: further paths.
        setup: statements before it, such as imports.
        step: kill at every so many changes only.

    Returns:
        The number of kills.
    """
    program = _PROGRAM.format(setup=setup, action=action)
    command = [sys.executable, "-c", program, str(place), str(step), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    status, number = map(int, done.stdout.splitlines()[-1].split())
    assert status == 0, done.stderr
    (place / "next").unlink()
    return (number - 1) // step
