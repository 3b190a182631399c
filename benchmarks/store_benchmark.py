"""Store the results of ``mambaad benchmark``, with the machine, in one file.

    python benchmarks/store_benchmark.py OUT --json FILE --markdown FILE

Run it on the machine that OUT was made on. ``quiet_minutes`` is the time of the fastest epoch times
the number of epochs, because the machine may have done other work during training.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import mambaad
from mambaad.artifacts.manifest import has_begun
from mambaad.artifacts.run_folder import read_log
from mambaad.artifacts.snapshot import opened
from mambaad.files import check_writable, write_text
from mambaad.workflows.benchmark.runner import RESULT, RUN

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--markdown", type=Path, required=True)
    arguments = parser.parse_args()
    for path in (arguments.json, arguments.markdown):
        check_writable(path)
    results: list[dict[str, Any]] = []
    for path in sorted(arguments.out.rglob(RESULT)):
        result = json.loads(path.read_text(encoding="utf-8"))
        run = path.parent / RUN
        if has_begun(run):
            with opened(run) as trained:
                seconds = [epoch["seconds"] for epoch in read_log(trained)]
            result["epoch_seconds"] = seconds
            result["quiet_minutes"] = min(seconds) * len(seconds) / 60
        results.append(result)
    if not results:
        sys.exit(f"store_benchmark: {arguments.out} has no results; run mambaad benchmark first")
    record = {"results": results, "machine": machine()}
    write_text(arguments.json, json.dumps(record, indent=2) + "\n")
    tables = (arguments.out / "results.md").read_text(encoding="utf-8")
    write_text(arguments.markdown, tables)
    for result in results:
        mad = result["mean"]["mad"]
        quiet = result.get("quiet_minutes", result["train_minutes"])
        print(
            f"{result['system']:14} mAD {'-' if mad is None else f'{100 * mad:.1f}'}  "
            f"{result['images_per_s']:.1f} images/s  "
            f"{result['train_minutes']:.1f} min, quiet {quiet:.1f}"
        )


if __name__ == "__main__":
    try:
        main()
    except mambaad.MambaADError as error:
        sys.exit(f"store_benchmark: {error}")
