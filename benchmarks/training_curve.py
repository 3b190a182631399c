"""Quality against minutes: trains with ``mambaad train`` and evaluates the weights of each epoch.

    python benchmarks/training_curve.py DATA --out RUN --json FILE [-- TRAIN_OPTIONS]

The training runs undisturbed; each epoch's weights are set aside while it goes on and evaluated
after it has ended (protocol ``exact``). The minutes are those of the run's own log: all of an
epoch, with the encoder's part of the first, but without reading the images before it. A finished
run is evaluated only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import mambaad
from mambaad.artifacts.generations import commit
from mambaad.artifacts.manifest import FIRST, WEIGHTS, has_begun
from mambaad.artifacts.run_folder import is_finished, read_config, read_log
from mambaad.artifacts.snapshot import opened
from mambaad.files import check_writable, locked, write_text
from mambaad.metrics.names import METRICS
from mambaad.progress import show_progress

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine


def epochs_of(run: Path) -> list[dict[str, Any]]:
    with opened(run) as trained:
        return read_log(trained)


def keep(run: Path, kept: int) -> int:
    """Keep the weights of a run's last epoch beside it, if they are new; return its number."""
    with opened(run) as now:
        done = len(read_log(now))
        files = {name: [now.read(name)] for name in (*FIRST, WEIGHTS)} if done > kept else {}
    if files:
        epoch = run.with_name(f"{run.name}-epoch-{done}")
        with locked(epoch, make=True):
            commit(epoch, files)
    return done


def has_ended(run: Path) -> bool:
    if not has_begun(run):
        return False
    with opened(run) as trained:
        return is_finished(trained)


def train(data: Path, run: Path, options: list[str]) -> list[str]:
    """Train in a process of its own, keeping ``epoch-N`` runs of each epoch's weights beside it."""
    command = ["train", str(data), "--out", str(run), *options]
    if has_ended(run):
        return ["mambaad", *command]
    program = "from mambaad.cli.app import main; main()"
    process = subprocess.Popen([sys.executable, "-c", program, *command])
    kept = 0
    try:
        while True:
            ended = process.poll() is not None
            if has_begun(run):
                kept = keep(run, kept)
            if ended:
                break
            time.sleep(1)
    except KeyboardInterrupt:
        process.wait()
        raise
    if process.returncode:
        sys.exit(process.returncode)
    return ["mambaad", *command]


def main() -> None:
    """Train, evaluate, print the curve and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments, options = parser.parse_args(sys.argv[1:at]), sys.argv[at + 1 :]
    check_writable(arguments.json)
    torch.set_num_threads(arguments.threads)
    command = train(arguments.data, arguments.out, options)
    curve: list[dict[str, Any]] = []
    minutes = 0.0
    for line in epochs_of(arguments.out):
        minutes += line["seconds"] / 60
        run = arguments.out.with_name(f"{arguments.out.name}-epoch-{line['epoch']}")
        if not run.exists():
            continue
        values = mambaad.evaluate(run, arguments.data)
        curve.append(
            {
                "epoch": line["epoch"],
                "minutes": round(minutes, 2),
                "loss": line["loss"],
                **values.mean,
                "classes": {name: c["mad"] for name, c in values.classes.items()},
            }
        )
        shown = "  ".join(f"{m} {100 * (values.mean[m] or 0):.1f}" for m in METRICS)
        print(f"epoch {line['epoch']}  {minutes:.1f} min  loss {line['loss']:.4f}  {shown}")
    with opened(arguments.out) as trained:
        config = read_config(trained)
    record = {
        "command": command,
        "config": config.model_dump(mode="json", exclude={"encoder_weights"}),
        "curve": curve,
        "machine": machine(),
    }
    write_text(arguments.json, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    show_progress()
    try:
        main()
    except mambaad.MambaADError as error:
        sys.exit(f"training_curve: {error}")
