"""Figures as plain text, for terminals and log files alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mambaad.evaluate import Evaluation
from mambaad.metrics import METRICS
from mambaad.run import (
    GOOD_PARTS,
    WEIGHTS,
    read_config,
    read_data_summary,
    read_log,
    read_version,
)

_HEADINGS = {
    "image_auroc": "I-AUROC",
    "image_ap": "I-AP",
    "image_f1_max": "I-F1",
    "pixel_auroc": "P-AUROC",
    "pixel_ap": "P-AP",
    "pixel_f1_max": "P-F1",
    "pixel_aupro": "AU-PRO",
    "mad": "mAD",
}


def metrics_table(evaluation: Evaluation) -> str:
    """A row for each class, in per cent."""
    rows = [["class", *(_HEADINGS[m] for m in METRICS)]]
    means = {"mean": evaluation.mean, "pooled": evaluation.pooled}
    for name, values in {**evaluation.classes, **means}.items():
        shown = (values.get(m) for m in METRICS)
        rows.append([name, *("-" if v is None else f"{100 * v:.1f}" for v in shown)])
    size = " x ".join(map(str, evaluation.size))
    return "\n".join(
        [
            _aligned(rows),
            f"per cent; protocol {evaluation.protocol}, {size} pixels, no crop",
            f"model {evaluation.model_seconds:.0f} s, metrics {evaluation.metric_seconds:.0f} s",
        ]
    )


def run_summary(run: Path) -> str:
    """What a run folder says of itself."""
    config, data, versions = read_config(run), read_data_summary(run), read_version(run)
    epochs = read_log(run)
    rows = [[name, _text(value)] for name, value in config.model_dump().items()]
    rows += [[f"version of {name}", str(value)] for name, value in versions.items()]
    if "imported" in data:
        rows.append(["imported from", str(data["imported"])])
    elif (run / GOOD_PARTS).is_file():
        rows.append(["training", f"finished after {len(epochs)} epochs"])
    else:
        rows.append(["training", f"not finished: {len(epochs)} of {config.epochs} epochs"])
    if epochs:
        minutes = sum(epoch["seconds"] for epoch in epochs) / 60
        rows.append(
            ["loss, first and last epoch", f"{epochs[0]['loss']:.4f} {epochs[-1]['loss']:.4f}"]
        )
        rows.append(["training time", f"{minutes:.1f} min"])
    if (run / WEIGHTS).is_file():
        rows.append(["weights", f"{(run / WEIGHTS).stat().st_size / 2**20:.1f} MiB"])
    products = [["class", "train", "test"]]
    products += [[name, str(c["train"]), str(c["test"])] for name, c in data["classes"].items()]
    return _aligned(rows) + ("\n\n" + _aligned(products) if len(products) > 1 else "")


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "all" if value is None else str(value)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 or len(row) == 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
