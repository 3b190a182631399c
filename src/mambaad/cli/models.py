"""``mambaad info`` and ``mambaad bundle``: what a model is, and a model as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mambaad.cli.options import RequireSignature, Run, Source
from mambaad.cli.output import show, show_next
from mambaad.cli.tables import aligned
from mambaad.documents import shortened

if TYPE_CHECKING:
    from mambaad.artifacts.bundle import Manifest
    from mambaad.artifacts.snapshot import Snapshot

_UNSET = {"classes": "all", "layout": "auto", "blocks": "auto", "decoder_width": "auto"}
"""How a setting is shown whose value is None, where that does not mean "none"."""


def info(source: Source, require_signature: RequireSignature = None) -> None:
    """Show how a model was made. Its settings, classes, progress and versions."""
    from mambaad.artifacts.snapshot import opened

    with opened(source) as run:
        show(bundle_summary(run, run.manifest) if run.manifest else run_summary(run))
        step = _next_step(run)
    show_next(*step)


def bundle(
    run: Run,
    out: Annotated[Path, typer.Option(help="File to write, *.mambaad.")],
    metrics: Annotated[
        Path | None, typer.Option(help="JSON file written by mambaad evaluate --json, to include.")
    ] = None,
    sign: Annotated[
        Path | None, typer.Option(help="Sign it with this private key; see mambaad keygen.")
    ] = None,
) -> None:
    """Write a model as one file. It holds the weights, calibration and provenance; no images."""
    from mambaad.artifacts.run_folder import check_finished, read_config
    from mambaad.artifacts.snapshot import opened
    from mambaad.files import check_writable

    check_writable(out)
    with opened(run) as snapshot:
        read_config(snapshot)
        check_finished(snapshot)
    from mambaad.workflows.bundle import bundle as make_bundle

    manifest = make_bundle(run, out, metrics=metrics, sign=sign)
    size = out.stat().st_size / 2**20
    calibrated = (
        f"calibrated ({manifest.calibrated})"
        if manifest.calibrated
        else "not calibrated (it gives scores but no verdicts)"
    )
    show(f"{out}: {len(manifest.classes)} classes, {calibrated}, {size:.1f} MiB")
    show_next("predict", out, "IMAGES", "--out", "RESULTS")


def keygen(
    key: Annotated[
        Path, typer.Argument(metavar="KEY", help="File to write; the public key goes to KEY.pub.")
    ],
) -> None:
    """Make a pair of keys to sign bundles. Keep KEY secret, and give KEY.pub to the line."""
    from mambaad.artifacts.signatures import make_keys

    show(f"{key}: the private key; {make_keys(key)}: the public key")
    show_next("bundle", "RUN", "--out", "LINE.mambaad", "--sign", key)


def run_summary(run: Snapshot) -> str:
    """Describe a run folder: its settings, progress, weights and classes."""
    from mambaad.artifacts.manifest import WEIGHTS
    from mambaad.artifacts.run_folder import (
        is_finished,
        is_head_used,
        read_config,
        read_data_summary,
        read_log,
        read_version,
        training_seconds,
    )

    config, data, versions = read_config(run), read_data_summary(run), read_version(run)
    epochs = read_log(run)
    rows = [[name, _text(name, value)] for name, value in config.model_dump().items()]
    rows += [[f"version of {name}", shortened(value)] for name, value in versions.items()]
    if "imported" in data:
        rows.append(["imported from", shortened(data["imported"])])
    elif is_finished(run):
        silenced = ", its residual head was silenced" if is_head_used(run) is False else ""
        rows.append(["training", f"finished after {len(epochs)} epochs{silenced}"])
    else:
        rows.append(["training", f"not finished: {len(epochs)} of {config.epochs} epochs"])
    if epochs:
        rows.append(
            ["loss, first and last epoch", f"{epochs[0]['loss']:.4f} {epochs[-1]['loss']:.4f}"]
        )
        rows.append(["training time", f"{training_seconds(run) / 60:.1f} min"])
    rows.append(["calibration", calibration_text(run)])
    if run.has(WEIGHTS):
        rows.append(["weights", f"{run.size(WEIGHTS) / 2**20:.1f} MiB"])
    classes = [["class", "train", "test"]]
    classes += [[name, f"{c['train']:d}", f"{c['test']:d}"] for name, c in data["classes"].items()]
    text = aligned(rows, last_is_text=True)
    return text + ("\n\n" + aligned(classes) if len(classes) > 1 else "")


def bundle_summary(bundle: Snapshot, manifest: Manifest) -> str:
    """Verify a bundle, and describe it by its manifest."""
    from mambaad.artifacts.signatures import required_key

    bundle.verify()
    signed = "no"
    if bundle.signature:
        verified = "verified" if required_key() else "not verified (--require-signature)"
        signed = f"with the key {bundle.signature.key[:16]}, {verified}"
    rows = [
        ["classes", ", ".join(manifest.classes)],
        ["calibration", calibration_text(bundle)],
        ["signed", signed],
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
    return aligned(rows, last_is_text=True)


def calibration_text(run: Snapshot) -> str:
    """Say whether and how a model is calibrated, on how many good parts, for which rates."""
    from mambaad.artifacts.manifest import CALIBRATION

    if not run.has(CALIBRATION):
        return "none: it gives scores, and no verdicts"
    from mambaad.artifacts.run_folder import read_config
    from mambaad.inspection.calibration import read_calibration

    calibration = read_calibration(run, read_config(run).size)
    assert calibration is not None
    parts = [len(c.scores) for c in calibration.classes.values()]
    fail, review = (
        max(getattr(c, name).asked for c in calibration.classes.values())
        for name in ("fail", "review")
    )
    counts = f"{min(parts)}" if min(parts) == max(parts) else f"{min(parts)} to {max(parts)}"
    return (
        f"{calibration.method}, {counts} good parts a class; aims at {fail:.1%} FAIL and "
        f"{review:.1%} REVIEW or FAIL of good parts; {calibration.precision}"
    )


def _next_step(run: Snapshot) -> list[str]:
    """What comes next for a run or bundle: the words of a command."""
    from mambaad.artifacts.manifest import CALIBRATION
    from mambaad.artifacts.run_folder import is_finished, read_config

    source = str(run.source)
    if run.manifest is None and not is_finished(run):
        return ["train", "DATA", "--out", source, "--resume"]
    if run.manifest is None and not run.has(CALIBRATION):
        held_out = [] if read_config(run).holdout else ["--cross-fit", "3"]
        return ["calibrate", source, "DATA", *held_out]
    return ["predict", source, "IMAGES", "--out", "RESULTS"]


def _text(name: str, value: object) -> str:
    if value is None:
        return _UNSET.get(name, "none")
    if name == "exclude" and isinstance(value, tuple):
        return f"{len(value)} training images"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
