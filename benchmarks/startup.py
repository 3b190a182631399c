"""Processor time and memory of commands that compute nothing, and of refused arguments.

    python benchmarks/startup.py

Each command runs five times in a process of its own; medians are shown. Exit code 1 if any of them
misses a target. It first makes the small run, bundle and registry that the commands read.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

# Nothing large is imported here: a process starts with the peak memory of the one that made it.

TIME, MEMORY = 0.7, 150  # seconds of processor time (user and system), MB (of 10^6 bytes)
ROUNDS = 5
MAMBAAD = [sys.executable, "-c", "from mambaad.cli.app import main; main()"]
COMMANDS = {  # each with its exit code
    "--help": 0,
    "--version": 0,
    "train --help": 0,
    "info {run}": 0,
    "info {bundle}": 0,
    "registry list --root {registry}": 0,
    "registry path press --root {registry}": 0,
    "registry promote press 2 --root {registry}": 0,
    "registry rollback press --root {registry}": 0,
    "info {none}": 1,
    "train {none} --out {out}": 1,
    "train {data} --out {out} --classes spoon": 1,
    "train {data} --out {out} --size 100": 1,
    "train {data} --out {out} --config {none}": 1,
    "evaluate {none} {data}": 1,
    "evaluate {run} {none}": 1,
    "evaluate {run} {data} --protocol mine": 1,
    "evaluate {run} {data} --precision half": 1,
    "evaluate {run} {data} --verdicts": 1,
    "predict {run} {none} --out {out}": 1,
    "predict {run} {data} --out {out} --class spoon": 1,
    "predict {run} {data} --out {out} --device gpu": 1,
    "calibrate {none} {data}": 1,
    "calibrate {run} {data} --target-fpr 2": 1,
    "extend {none} {data} --old {data}": 1,
    "monitor {none} --bundle {none}": 1,
    "bundle {none} --out {out}.mambaad": 1,
    "profile --size 100": 1,
    "benchmark {none} --out {out}": 1,
    "import-checkpoint {none} --out {out}": 1,
    "make-data {out} --classes spoon": 1,
    "data check {none}": 1,
    "registry promote press 9 --root {registry}": 1,
    "train": 2,
}


def make(folder: Path) -> dict[str, Path]:
    """Draw a few parts, train on them for an epoch, and make a bundle and a registry of it."""
    names = ("data", "run", "registry", "none", "out")
    places = {name: folder / name for name in names} | {"bundle": folder / "model.mambaad"}
    for command in (
        "make-data {data} --classes wood --train 4 --test 2 --size 64",
        "train {data} --out {run} --encoder embedded --variant lite --recipe fast --epochs 1 "
        "--size 64",
        "bundle {run} --out {bundle}",
        "registry add press {bundle} --root {registry}",
        "registry add press {bundle} --root {registry}",
        # So that each of the rounds has a version to roll back to.
        *(f"registry promote press {1 + n % 2} --root {{registry}}" for n in range(ROUNDS + 1)),
    ):
        subprocess.run(
            [*MAMBAAD, *words(command, places)], check=True, capture_output=True, text=True
        )
    return places


def words(command: str, places: dict[str, Path]) -> list[str]:
    return [word.format(**places) for word in command.split()]


def run(arguments: list[str]) -> tuple[int, float, float]:
    """Run one process; return its exit code, processor seconds and peak memory in MB."""
    process = subprocess.Popen(
        [*MAMBAAD, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return process.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e6


def main() -> int:
    print(f"targets: {TIME} s of processor time, {MEMORY} MB; medians of {ROUNDS} runs")
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        places = make(Path(folder))
        for command, expected in COMMANDS.items():
            runs = [run(words(command, places)) for _ in range(ROUNDS)]
            seconds = statistics.median(r[1] for r in runs)
            memory = statistics.median(r[2] for r in runs)
            codes = {r[0] for r in runs}
            problems = [
                *([f"exit codes {codes}, expected {expected}"] if codes != {expected} else []),
                *([f"over {TIME} s"] if seconds > TIME else []),
                *([f"over {MEMORY} MB"] if memory > MEMORY else []),
            ]
            missed += bool(problems)
            print(f"{command:48}{seconds:6.2f} s{memory:6.0f} MB  {', '.join(problems) or 'met'}")
    print(f"{len(COMMANDS) - missed} of {len(COMMANDS)} met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
