"""``mambaad plan``: hours and cost of many images, before they are inspected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mambaad.cli import checks
from mambaad.cli.options import Compile, Device, Json, Precision, Source
from mambaad.cli.output import show
from mambaad.cli.tables import aligned

if TYPE_CHECKING:
    from mambaad.workflows.plan import Estimate, Rates


def plan(
    source: Source,
    images: Annotated[int, typer.Option(min=1, help="How many images are to be inspected.")],
    sample: Annotated[
        list[Path] | None,
        typer.Option(
            help="Some of the images, or a folder of them, where they are to be read from; can be "
            "repeated. [some are drawn]"
        ),
    ] = None,
    workers: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Number of cores (or GPUs) to plan for; can be repeated. [1, those here, 10, 100, "
            "1000]",
        ),
    ] = None,
    hours: Annotated[
        float | None, typer.Option(help="Say how many are needed to be done in so many hours.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Megabytes a second that the images' store gives to all readers together. "
            "[as many as they ask for]"
        ),
    ] = None,
    price: Annotated[
        float | None, typer.Option(help="Price of a core (or GPU) for an hour.")
    ] = None,
    precision: Precision = "float32",
    device: Device = "auto",
    compile: Compile = "auto",
    json: Json = None,
) -> None:
    """Plan the inspection of many images. Measures here; says hours and cost, and what limits."""
    from mambaad.files import check_writable, write_text
    from mambaad.workflows.plan import check_asked

    check_asked(images, rate, price, hours)
    if json:
        check_writable(json)
    checks.check_compute(precision, device, compile)
    checks.check_source(source)
    checks.check_images(sample or [])
    from mambaad.workflows.plan import (
        estimate,
        measure,
        numbers_of_workers,
        to_json,
        workers_for,
        workers_of_store,
    )

    rates = measure(
        source,
        sample or [],
        precision=precision,  # type: ignore[arg-type]  # checked above
        device=device,
        compile=compile,  # type: ignore[arg-type]  # checked above
    )
    numbers = sorted(set(workers or numbers_of_workers(rates, images)))
    needed = workers_for(rates, images, hours, store_rate=rate) if hours else None
    if needed:
        numbers = sorted({*numbers, needed})
    found = [estimate(rates, images, n, store_rate=rate, price=price) for n in numbers]
    show(_steps_table(rates))
    show(_estimates_table(rates, images, found, price))
    if rate:
        show(_store_line(rates, rate, workers_of_store(rates, rate)))
    if hours:
        show(_needed_line(rates, images, hours, needed))
    if json:
        write_text(
            json,
            to_json(rates, images, found, rate=rate, price=price, hours=hours, needed=needed),
        )


def _steps_table(rates: Rates) -> str:
    from mambaad.workflows.plan import STEPS, shares

    parts = shares(rates)
    where = "one core" if rates.device == "cpu" else f"{rates.device}; all but inference: one core"
    what = "drawn images, for want of --sample" if rates.drawn else "images of the sample"
    rows = [["step", "ms an image", "share"]]
    rows += [[n, f"{1000 * getattr(rates, n):.2f}", f"{100 * parts[n]:.1f} %"] for n in STEPS]
    return "\n".join(
        [
            f"measured here, {where}: {rates.measured} {what}, {rates.megabytes:.2f} MB each",
            aligned(rows),
            f"{1 / rates.by_worker:.2f} images/s a {_worker(rates)}; a process is ready after "
            f"{rates.start:.0f} s of a core",
        ]
    )


def _estimates_table(rates: Rates, images: int, found: list[Estimate], price: float | None) -> str:
    unit = _worker(rates)
    rows = [[f"{unit}s", "hours", f"{unit}-hours", *(["cost"] if price is not None else []), ""]]
    for one in found:
        cost = [] if one.cost is None else [f"{one.cost:,.2f}"]
        limit = f"waits {100 * one.waits:.0f} % for the store" if one.waits > 0.005 else ""
        rows.append([str(one.workers), _number(one.hours), _number(one.worker_hours), *cost, limit])
    beside = (
        ""
        if rates.device == "cpu"
        else f"; beside each GPU {rates.cores_beside} cores that read and decode"
    )
    return "\n".join(
        [
            f"{images:,} images, {images * rates.megabytes / 1e6:.3g} TB, if every {unit} is as "
            f"fast as here{beside}:",
            aligned(rows, last_is_text=True),
        ]
    )


def _store_line(rates: Rates, rate: float, busy: int) -> str:
    workers = f"{busy} {_worker(rates)}{'s' if busy > 1 else ''}"
    return f"{rate:g} MB/s from the store keep {workers} busy; more of them wait"


def _needed_line(rates: Rates, images: int, hours: float, needed: int | None) -> str:
    if needed is None:
        return f"in {hours:g} h: with no number of {_worker(rates)}s (the start, or the store)"
    return f"in {hours:g} h: {needed} {_worker(rates)}{'s' if needed > 1 else ''}"


def _worker(rates: Rates) -> str:
    return "core" if rates.device == "cpu" else "GPU"


def _number(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"
