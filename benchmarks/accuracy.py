"""The tables of accuracy: one command each, from ``configs/TABLE.yaml``.

    python benchmarks/accuracy.py TABLE --out OUT

Trains and evaluates what the plan lists (``mambaad benchmark``, which goes on where it was
interrupted), and stores figures, minutes and the machine in ``benchmarks/results/TABLE.json`` and
``.md``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_PLANS = _HERE.parent / "configs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("table", choices=sorted(path.stem for path in _PLANS.glob("*.yaml")))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    program = "from mambaad.cli.app import main; main()"
    plan = _PLANS / f"{arguments.table}.yaml"
    command = [sys.executable, "-c", program, "benchmark", str(plan), "--out", str(arguments.out)]
    made = subprocess.run(command, check=False).returncode
    if made == 130 or not (arguments.out / "results.md").is_file():
        sys.exit(made or 1)
    stored = [
        f"--{kind}={_HERE / 'results' / f'{arguments.table}.{suffix}'}"
        for kind, suffix in (("json", "json"), ("markdown", "md"))
    ]
    store = [sys.executable, str(_HERE / "store_benchmark.py"), str(arguments.out), *stored]
    subprocess.run(store, check=True)
    sys.exit(made)


if __name__ == "__main__":
    main()
