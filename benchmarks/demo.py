"""Time, memory and quality of the commands that need no data: demo (full and quick), make-data.

    python benchmarks/demo.py --out DIR --json FILE [--only NAME]

Each is the command as a user types it, in its own process; make-data draws 1,001 images. With
``--only``, the file keeps its results of the other commands.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mambaad.errors import MambaADError, RunError
from mambaad.files import check_writable, write_text
from mambaad.workflows.demo import DATA, RUN
from mambaad.workflows.evaluate import evaluate

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

COMMANDS = {
    "demo": ("demo", "--out"),
    "demo --quick": ("demo", "--quick", "--out"),
    "make-data": ("make-data", "--train", "50", "--test", "41"),  # eleven products: 1,001 images
}


def measure(command: tuple[str, ...], out: Path) -> dict[str, Any]:
    """Measure one command's seconds, the memory of its largest process, and the demo's metrics."""
    if out.exists():
        raise RunError(f"{out} exists, so only a part of the command would be timed; remove it")
    began = time.perf_counter()
    with subprocess.Popen([Path(sys.executable).with_name("mambaad"), *command, out]) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RunError(f"mambaad {' '.join(command)} ended with exit code {process.returncode}")
    results: dict[str, Any] = {
        "seconds": round(time.perf_counter() - began, 1),
        "peak_mib": usage.ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10),
    }
    if command[0] == "demo":
        evaluation = evaluate(out / RUN, out / DATA)
        results |= {"mean": evaluation.mean, "classes": evaluation.classes}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder to create")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--only", choices=COMMANDS)
    arguments = parser.parse_args()
    check_writable(arguments.json)
    arguments.out.mkdir(parents=True)
    results = json.loads(arguments.json.read_text()) if arguments.only else {}
    for name, command in COMMANDS.items():
        if arguments.only in (None, name):
            results[name] = measure(command, arguments.out / name.replace(" --", "-"))
    results["machine"] = machine()
    write_text(arguments.json, json.dumps(results, indent=2) + "\n")
    for name in COMMANDS:
        figures = results[name]
        line = f"{name:14}{figures['seconds']:7.1f} s {figures['peak_mib']:6} MiB"
        if "mean" in figures:
            mean = figures["mean"]
            line += f"   AU-ROC {100 * mean['image_auroc']:.1f}, {100 * mean['pixel_auroc']:.1f}"
        print(line)


if __name__ == "__main__":
    try:
        main()
    except (MambaADError, OSError, KeyboardInterrupt) as error:
        sys.exit(f"demo: {str(error) or 'interrupted'}")
