"""``mambaad watch``: a camera, a video or a folder that fills, one verdict a part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mambaad.cli import checks
from mambaad.cli.exit_codes import ExitCode
from mambaad.cli.interrupts import again, exit_on_interrupt
from mambaad.cli.options import (
    Compile,
    Device,
    MaxPixelsAs,
    Precision,
    RequireSignature,
    Threads,
    Tiles,
)
from mambaad.cli.output import show, show_next
from mambaad.errors import ConfigError
from mambaad.files import check_writable

if TYPE_CHECKING:
    from mambaad.capture.plan import Plan
    from mambaad.capture.triggers import Signals
    from mambaad.inspection.cycle_calibration import CycleCalibration
    from mambaad.workflows.watch import Watched


def watch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Video file, folder that fills, rtsp://..., or USB camera such as /dev/video0.",
        ),
    ],
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Bundle, or run folder made by mambaad train.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for predictions.jsonl, to which records are added."),
    ] = None,
    product: Annotated[
        str | None,
        typer.Option("--class", help="Product shown in all frames. [inferred for each frame]"),
    ] = None,
    trigger: Annotated[
        str | None,
        typer.Option(
            help="What begins a part: every:N frames; change or change:X,Y,WIDTH,HEIGHT[:LEVEL], a "
            "region that changes; signal, a line on standard input, with a serial or empty. "
            "[every:1]"
        ),
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of a part. [1]")] = None,
    step: Annotated[int | None, typer.Option(help="Take one of so many frames. [1]")] = None,
    delay: Annotated[int | None, typer.Option(help="Frames to pass over at first. [0]")] = None,
    rule: Annotated[
        str | None,
        typer.Option(help="How frames' scores are joined: max, mean, median, at-least:N. [max]"),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            help="If inspection is slower: every-part, the source waits; live, the oldest part is "
            "dropped and counted."
        ),
    ] = "every-part",
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="Write thresholds by cycle to this JSON file; SOURCE shows good parts. Without "
            "--out."
        ),
    ] = None,
    cycles: Annotated[
        Path | None,
        typer.Option(help="Thresholds that --calibrate wrote; parts are made as there."),
    ] = None,
    target_fpr: Annotated[
        float | None,
        typer.Option(help="With --calibrate: share of good parts that may FAIL. [the bundle's]"),
    ] = None,
    review_fpr: Annotated[
        float | None,
        typer.Option(help="With --calibrate: share that may not PASS. [the bundle's]"),
    ] = None,
    parts: Annotated[
        int | None, typer.Option(min=1, help="End after so many parts. [when the source ends]")
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option("--pictures", help="Keep frame and heatmap of parts that do not pass."),
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show the latest part in the terminal.")
    ] = False,
    reconnect: Annotated[
        float | None,
        typer.Option(help="Seconds to look for a camera that was lost; 0: none. [for ever]"),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="FFmpeg's name of a camera's format: dshow, avfoundation, v4l2."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="FFmpeg option, such as video_size=1280x720; can be repeated."),
    ] = None,
    precision: Precision = "float32",
    device: Device = "auto",
    threads: Threads = None,
    compile: Compile = "auto",
    max_pixels: MaxPixelsAs = None,
    tiles: Tiles = None,
    require_signature: RequireSignature = None,
) -> None:
    """Inspect a camera, a video or a folder as it fills. One verdict a part, from its frames."""
    if (out is None) == (calibrate is None):
        raise ConfigError("give --out for records, or --calibrate to set thresholds, one of them")
    if calibrate:
        check_writable(calibrate)
        if cycles:
            raise ConfigError("--calibrate makes what --cycles reads; give one of them")
    elif target_fpr or review_fpr:
        raise ConfigError("--target-fpr and --review-fpr need --calibrate; omit them")
    from mambaad.capture.capturing import check_policy

    check_policy(policy)
    checks.check_compute(precision, device, compile)
    checks.check_tiles(tiles)
    checks.check_source(bundle, product=product)
    if calibrate:
        checks.check_calibrated(bundle, precision)
    opening: dict[str, Any] = {
        "format": format,
        "options": _options(option or ()),
        "reconnect": reconnect,
    }
    plan = _plan(
        cycles,
        {
            "trigger": trigger,
            "frames": frames,
            "step": step,
            "delay": delay,
            "rule": rule,
        },
    )
    # Before the model is loaded: what is signalled meanwhile is no part of the first frame.
    signals = _signals() if plan.trigger == "signal" else None
    from mambaad.inspection.inspector import Inspector

    inspector = Inspector(
        bundle,
        precision,  # type: ignore[arg-type]  # checked above
        device=device,
        compile=compile,  # type: ignore[arg-type]
        max_pixels=max_pixels,
        tiles=tiles,
    )
    if calibrate:
        from mambaad.inspection.rates import check_rates
        from mambaad.workflows.watch import calibrate_watch

        if target_fpr or review_fpr:
            check_rates(target_fpr or 0.01, review_fpr or 0.05)
        with exit_on_interrupt(f"interrupted; nothing was written; again with: {again()}"):
            found = calibrate_watch(
                source,
                inspector,
                calibrate,
                plan,
                product=product,
                signals=signals,
                target_fpr=target_fpr,
                review_fpr=review_fpr,
                most=parts,
                **opening,
            )
        _show_thresholds(found, calibrate)
        show_next("watch", "SOURCE", bundle, "--cycles", calibrate, "--out", "OUT")
        return
    assert out is not None  # checked above
    from mambaad.workflows.predict_inputs import RECORDS
    from mambaad.workflows.watch import Watched
    from mambaad.workflows.watch import watch as run_watch

    watched = Watched()

    def kept() -> str:
        return f"interrupted; {_done(watched)}, kept in {out / RECORDS}; on with: {again()}"

    with exit_on_interrupt(kept):
        run_watch(
            source,
            inspector,
            out,
            plan,
            product=product,
            policy=policy,  # type: ignore[arg-type]
            cycles=cycles,
            signals=signals,
            most=parts,
            pictures=pictures,
            preview=preview,
            watched=watched,
            **opening,
        )
    show(f"{_done(watched)}: {out / RECORDS}")
    for verdict, count in watched.verdicts.most_common():
        show(f"{verdict:16}{count}")
    if watched.failed:
        raise typer.Exit(ExitCode.FAILED)
    if plan.frames == 1 and not cycles:  # else monitor has nothing to compare with
        show_next("monitor", out / RECORDS, "--bundle", bundle)


def _done(watched: Watched) -> str:
    """What a watch has done, in a few words."""
    words = [f"{watched.parts - watched.failed} parts inspected"]
    words += [f"{watched.failed} not inspected"] if watched.failed else []
    words += [f"{watched.dropped} dropped"] if watched.dropped else []
    words += [f"source lost {watched.reconnections} times"] if watched.reconnections else []
    return ", ".join(words)


def _options(given: list[str] | tuple[()]) -> dict[str, str]:
    found = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not (name and equals):
            raise ConfigError(f"--option: expected NAME=VALUE, got '{one}'")
        found[name] = value
    return found


def _plan(cycles: Path | None, given: dict[str, Any]) -> Plan:
    """The plan that the flags give, or that of a calibration by cycle, which they must not change.

    Raises:
        ConfigError, RunError: flags that cannot be read, or that differ; no such calibration.
    """
    from mambaad.capture.plan import Plan

    flags = {name: value for name, value in given.items() if value is not None}
    if cycles is None:
        return Plan(**flags)
    from mambaad.inspection.cycle_calibration import read_cycle_calibration

    plan = read_cycle_calibration(cycles).plan
    for name, value in flags.items():
        if getattr(plan, name) != value:
            raise ConfigError(
                f"--{name} {value}: {cycles} was made with {getattr(plan, name)}, and its "
                f"thresholds hold for that; omit --{name}, or calibrate again"
            )
    return plan


def _signals() -> Signals:
    """Signals from standard input: each line is a part, its text the serial."""
    import threading

    from mambaad.capture.triggers import Signals
    from mambaad.workflows.watch_lines import fire_lines

    signals = Signals()
    threading.Thread(target=fire_lines, args=(0, signals), name="signals", daemon=True).start()
    return signals


def _show_thresholds(found: CycleCalibration, path: Path) -> None:
    from mambaad.cli.tables import aligned

    rows = [["", "score", "asked", "rate", "95 % interval"]]
    for name, threshold in (("REVIEW", found.review), ("FAIL", found.fail)):
        low, high = threshold.interval
        rates = (f"{threshold.asked:.1%}", f"{threshold.rate:.1%}", f"{low:.1%} to {high:.1%}")
        rows.append([name, f"{threshold.value:.4f}", *rates])
    show(aligned(rows))
    show(
        f"\n{len(found.scores)} good cycles of {found.product}; rate: share of good cycles above "
        f"the threshold: {path}"
    )
    for name, threshold in (("REVIEW", found.review), ("FAIL", found.fail)):
        if not threshold.is_reached:
            show(
                f"{name}: {len(found.scores)} cycles are too few for a rate of "
                f"{threshold.asked:.1%}; give {round(1 / threshold.asked) - 1} or more"
            )
