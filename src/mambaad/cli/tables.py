"""Figures as plain text, for terminals and log files alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mambaad.artifacts.bundle import read_manifest
from mambaad.artifacts.run_folder import (
    GOOD_PARTS,
    WEIGHTS,
    read_config,
    read_data_summary,
    read_log,
    read_version,
)
from mambaad.config import TrainConfig
from mambaad.workflows.demo import NEW, PREDICTIONS, REPORT, RUN
from mambaad.workflows.evaluate import Evaluation
from mambaad.workflows.profile import Part
from mambaad.workflows.verdicts import VerdictEvaluation


def metrics_table(evaluation: Evaluation) -> str:
    """A row for each class, in per cent."""
    size = " x ".join(map(str, evaluation.size))
    return "\n".join(
        [
            aligned(evaluation.to_rows()),
            f"per cent; protocol {evaluation.protocol}, {size} pixels, no crop",
            f"model {evaluation.model_seconds:.0f} s, metrics {evaluation.metric_seconds:.0f} s",
        ]
    )


def verdict_tables(evaluation: VerdictEvaluation) -> str:
    """How often verdicts are right: product told, product inferred, one decision for all."""
    return f"""Verdicts, product told (per cent of the good and of the defective parts)
{aligned(evaluation.to_rows(evaluation.told))}

Verdicts, product inferred
{aligned(evaluation.to_rows(evaluation.inferred))}

All classes as one, one threshold (protocol exact; false alarms and recall at the rate of FAIL)
{aligned(evaluation.unified_rows())}"""


def demo_summary(out: Path, evaluation: Evaluation) -> str:
    """What the demo did, and what to type next."""
    new = len(list((out / NEW).iterdir()))
    images = sum(len(scores) for scores in evaluation.scores.values())
    return f"""{metrics_table(evaluation)}

What was done: {len(evaluation.classes)} products drawn, one model trained on good parts of all,
evaluated on {images} others, and {new} new parts inspected.
  report       {out / REPORT}   (open it in a browser)
  heatmaps     {out / PREDICTIONS}
  model        {out / RUN}

With your own images (one folder a product, good parts in PRODUCT/train/good):
  mambaad train DATA --out RUN --encoder embedded --variant lite --recipe fast
  mambaad predict RUN IMAGES --out RESULTS
Without --encoder embedded, timm downloads an encoder trained on ImageNet, which finds more."""


def profile_table(config: TrainConfig, parts: Sequence[Part]) -> str:
    """What each part of a system costs."""
    rows = [["part", "M parameters", "trained", "GFLOPs", "ms an image"]]
    for part in parts:
        sizes = (f"{part.parameters / 1e6:.3f}", f"{part.trained / 1e6:.3f}")
        rows.append([part.name, *sizes, f"{part.flops / 1e9:.2f}", f"{1000 * part.seconds:.1f}"])
    height, width = config.size
    note = (
        f"{config.system}, encoder {config.encoder}, {height} x {width}; a multiplication and an "
        "addition are two FLOPs, the scan's own among them."
    )
    if config.system == "mambaad":
        total = parts[-1].parameters + _order_entries(config)
        note += (
            f"\nThe released code counts order tables as parameters: {total / 1e6:.2f} M with them."
        )
    return f"{aligned(rows)}\n\n{note}"


def _order_entries(config: TrainConfig) -> int:
    """Of the released code's order tables: two of a map's length for each HSS block."""
    cells = [config.size[0] * config.size[1] // (32 >> stage) ** 2 for stage in range(4)]
    return 2 * sum(depth * length for depth, length in zip(config.depths, cells, strict=True))


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
    return aligned(rows) + ("\n\n" + aligned(products) if len(products) > 1 else "")


def bundle_summary(path: Path) -> str:
    """What a bundle says of itself."""
    manifest = read_manifest(path)
    rows = [
        ["classes", ", ".join(manifest.classes)],
        ["calibrated", manifest.calibrated or "no"],
        ["encoder", f"{manifest.encoder.get('name')} ({manifest.encoder.get('weights')})"],
        ["licence of its weights", manifest.encoder.get("licence", "not known")],
        ["fingerprint of the data", manifest.fingerprint],
        ["git revision", manifest.git_revision or "not known"],
        *([f"version of {name}", text] for name, text in manifest.versions.items()),
        *(
            [f"mean {name}", "-" if value is None else f"{100 * value:.1f}"]
            for name, value in (manifest.metrics or {}).items()
        ),
        *([name, f"{file.size / 2**20:.2f} MiB"] for name, file in manifest.files.items()),
    ]
    return aligned(rows)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "all" if value is None else str(value)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table as text: the first column (or both of two) to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 or len(row) == 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
