"""The per-class table of a trained run, with its training and its machine.

    python benchmarks/evaluate_run.py RUN DATA --json FILE --markdown FILE [--command TEXT]

Evaluates under both protocols. The training time is that of the run's own log.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import mambaad
from mambaad.artifacts.run_folder import read_config, read_data_summary, read_log
from mambaad.artifacts.snapshot import opened
from mambaad.files import check_writable, write_text
from mambaad.metrics.names import METRICS, PROTOCOLS
from mambaad.progress import show_progress

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine


def record(run: Path, parts: Path, command: str | None) -> dict[str, Any]:
    """Collect a run's configuration, data, log and metrics under both protocols."""
    with opened(run) as trained:
        config, data, log = read_config(trained), read_data_summary(trained), read_log(trained)
    results: dict[str, Any] = {
        "command": command,
        "config": config.model_dump(mode="json", exclude={"encoder_weights"}),
        "data": data["classes"],
        "log": log,
        "training_minutes": round(sum(epoch["seconds"] for epoch in log) / 60, 1),
        "machine": machine(),
    }
    for protocol in PROTOCOLS:
        evaluation = mambaad.evaluate(run, parts, protocol=protocol)
        results[protocol] = {
            **json.loads(evaluation.to_json()),
            "model_seconds": round(evaluation.model_seconds, 1),
            "metric_seconds": round(evaluation.metric_seconds, 1),
        }
    return results


def markdown(results: Mapping[str, Any]) -> str:
    """Format the record as Markdown."""
    config, here = results["config"], results["machine"]
    lines = [f"    {results['command']}", ""] if results["command"] else []
    lines += [
        f"{config['epochs']} epochs of {sum(c['train'] for c in results['data'].values())} images, "
        f"{results['training_minutes']} minutes; loss {results['log'][0]['loss']:.3f} in the first "
        f"epoch, {results['log'][-1]['loss']:.3f} in the last.",
        f"{here['processor']}, {here['cores']} cores, {here['memory_gib']} GiB; kernel "
        f"{here['kernel']}; Python {here['python']}, torch {here['torch']}, timm {here['timm']}.",
    ]
    for protocol in PROTOCOLS:
        figures = results[protocol]
        size = " x ".join(map(str, figures["size"]))
        lines += [
            "",
            f"Protocol `{protocol}`, {size} pixels, no crop; per cent. Images through the model "
            f"{figures['model_seconds']} s, metrics {figures['metric_seconds']} s.",
            "",
            "| class | " + " | ".join(METRICS) + " |",
            "|---" * (1 + len(METRICS)) + "|",
        ]
        for name, values in {**figures["classes"], "**mean**": figures["mean"]}.items():
            cells = ["-" if values[m] is None else f"{100 * values[m]:.1f}" for m in METRICS]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Evaluate, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--markdown", type=Path, required=True)
    parser.add_argument("--command", help="the training command to show")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    for path in (arguments.json, arguments.markdown):
        check_writable(path)
    torch.set_num_threads(arguments.threads)
    results = record(arguments.run, arguments.data, arguments.command)
    page = markdown(results)
    print(page)
    write_text(arguments.json, json.dumps(results, indent=2) + "\n")
    write_text(arguments.markdown, page)


if __name__ == "__main__":
    show_progress()
    try:
        main()
    except mambaad.MambaADError as error:
        sys.exit(f"evaluate_run: {error}")
