"""Time, memory and quality of what needs no data: both demos, and drawing a thousand parts.

    python benchmarks/demo.py --out DIR --json FILE [--only NAME]

Each is the command as a user types it, in a process of its own. With ``--only`` the others keep
what the file has.
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
from mambaad.workflows import evaluate
from mambaad.workflows.demo import DATA, RUN

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

COMMANDS = {
    "demo": ("demo", "--out"),
    "demo --quick": ("demo", "--quick", "--out"),
    "make-data": ("make-data", "--train", "50", "--test", "41"),  # eleven products: 1,001 images
}


def measure(command: tuple[str, ...], out: Path) -> dict[str, Any]:
    """Seconds of one command, memory of its largest process, and the metrics it led to."""
    if out.exists():
        raise RunError(f"{out} exists, so that less than the whole would be timed; remove it")
    began = time.perf_counter()
    with subprocess.Popen([Path(sys.executable).with_name("mambaad"), *command, out]) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RunError(f"mambaad {' '.join(command)} ended with exit code {process.returncode}")
    found: dict[str, Any] = {
        "seconds": round(time.perf_counter() - began, 1),
        "peak_mib": usage.ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10),
    }
    if command[0] == "demo":
        evaluation = evaluate(out / RUN, out / DATA)
        found |= {"mean": evaluation.mean, "classes": evaluation.classes}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--only", choices=COMMANDS)
    arguments = parser.parse_args()
    check_writable(arguments.json)
    arguments.out.mkdir(parents=True)
    found = json.loads(arguments.json.read_text()) if arguments.only else {}
    for name, command in COMMANDS.items():
        if arguments.only in (None, name):
            found[name] = measure(command, arguments.out / name.replace(" --", "-"))
    found["machine"] = machine()
    write_text(arguments.json, json.dumps(found, indent=2) + "\n")
    for name in COMMANDS:
        figures = found[name]
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
