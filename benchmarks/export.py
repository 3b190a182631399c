"""Times an exported model in its runtimes over mambaad's own engine, in one run.

    python benchmarks/export.py --json benchmarks/results/export.json

MambaAD base (ResNet-34) and lite (ResNet-18) with random weights, 256 x 256, batch 1, exported with
``mambaad export``'s own functions. In rounds that alternate, each engine observes one image;
figures are ratios of medians, of processor time (all threads) and of wall-clock time, since other
programs take wall-clock time on a shared machine. ``kernel``: with our operator; ``plain``: by its
definition. int8's scales are chosen on drawn images: times do not depend on them. The file is
written after each model, and models that are in it are not measured again.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mambaad.artifacts.export_folder import GRAPHS
from mambaad.config import make_config
from mambaad.export.graph import InferenceGraph
from mambaad.export.targets import WRITERS, Job
from mambaad.export.values import drawn_images
from mambaad.files import check_writable, write_text
from mambaad.inference.exported.engine import SESSIONS
from mambaad.inference.packed.pack import pack
from mambaad.inference.torch_engine import TorchEngine
from mambaad.models.build import build_system

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

MODELS: dict[str, dict[str, Any]] = {
    "base": {"encoder": "resnet34"},
    "lite": {"encoder": "resnet18", "variant": "lite"},
}
KINDS = (
    ("onnx", "float32", "auto"),
    ("onnx", "float32", "off"),
    ("openvino", "float32", "auto"),
    ("onnx", "int8", "auto"),
    ("openvino", "bfloat16", "auto"),
    ("torch-export", "float32", "auto"),
    ("torch-export", "bfloat16", "auto"),
)


def export(name: str, folder: Path) -> tuple[TorchEngine, dict[str, Any]]:
    """Make a model's own engine, and its sessions by what they are."""
    torch.manual_seed(0)
    config = make_config(MODELS[name])
    model = build_system(config, "random").eval()
    means = torch.empty(0, 0)
    engine = TorchEngine(copy.deepcopy(model), config.size, means)
    half = InferenceGraph(pack(copy.deepcopy(model), "bfloat16"), config.size, means)
    graph = InferenceGraph(pack(model), config.size, means)
    images = drawn_images(config.size)
    sessions, done = {}, set()
    for target, precision, kernel in KINDS:
        place = folder / f"{name}-{target}-{precision}"
        if place not in done:
            place.mkdir()
            given = images if precision == "int8" else None
            of = half if precision == "bfloat16" else graph
            WRITERS[target, precision](Job(of, place, precision, given))
            done.add(place)
        files = {file: bytearray((place / file).read_bytes()) for file in GRAPHS[target]}
        way = "plain" if kernel == "off" else "kernel"
        sessions[f"{target} {precision} {way}"] = SESSIONS[target](files, kernel)
        gc.collect()
        print(f"{name}: {target} {precision} {way}", file=sys.stderr, flush=True)
    return engine, sessions


def measure(name: str, folder: Path, rounds: int, calls: int) -> dict[str, Any]:
    """Time a model in its runtimes; ratios to its own engine, and how far its maps lie apart."""
    engine, sessions = export(name, folder)
    image = drawn_images(engine.size)[:1]
    expected = engine.observe(image)[0].anomaly_map
    actions = {"torch": lambda: engine.observe(image)}
    actions |= {
        kind: lambda session=session: session.run(image) for kind, session in sessions.items()
    }
    wall: dict[str, list[float]] = {kind: [] for kind in actions}
    cpu: dict[str, list[float]] = {kind: [] for kind in actions}
    for action in actions.values():
        action()
    for done in range(rounds):
        for kind, action in actions.items():
            action()  # the cache holds another one's data
            for _ in range(1 if "plain" in kind else calls):
                began = time.perf_counter(), time.process_time()
                action()
                wall[kind].append(time.perf_counter() - began[0])
                cpu[kind].append(time.process_time() - began[1])
        print(f"{name}: round {done + 1}/{rounds}", file=sys.stderr, flush=True)
    figures: dict[str, Any] = {}
    for kind in actions:
        times = {"cpu_ms": cpu, "wall_ms": wall}
        medians = {unit: statistics.median(found[kind]) for unit, found in times.items()}
        figures[kind] = {unit: 1000 * value for unit, value in medians.items()}
        for unit, found in (("cpu", cpu), ("wall", wall)):
            ratio = medians[f"{unit}_ms"] / statistics.median(found["torch"])
            figures[kind][f"{unit}_over_torch"] = ratio
        if kind != "torch":
            maps = sessions[kind].run(image)["anomaly_map"][0]
            figures[kind]["maps_apart"] = float(np.abs(maps - expected).max())
    return figures


def main() -> None:
    """Measure, print a table, and write it as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=3, help="a round")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    torch.set_num_threads(arguments.threads)
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # which our sessions read
    record: dict[str, Any] = {}
    if arguments.json and arguments.json.exists():
        record = json.loads(arguments.json.read_text())
    record |= {"setup": vars(arguments) | {"json": None}, "machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models:
            if name in record:
                continue
            before = os.getloadavg()
            record[name] = measure(name, Path(folder), arguments.rounds, arguments.calls)
            record.setdefault("load", {})[name] = {"before": before, "after": os.getloadavg()}
            if arguments.json:
                write_text(arguments.json, json.dumps(record, indent=2) + "\n")
    for name in arguments.models:
        for kind, figures in record[name].items():
            line = "  ".join(f"{unit} {value:9.4g}" for unit, value in figures.items())
            print(f"{name:6}{kind:30}{line}")
        for unit in ("cpu_ms", "wall_ms"):
            float32, int8 = (record[name][f"onnx {p} kernel"][unit] for p in ("float32", "int8"))
            print(f"{name:6}int8 over float32, {unit[:-3]}: {float32 / int8:.2f} times as fast")


if __name__ == "__main__":
    main()
