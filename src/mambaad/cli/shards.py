"""``mambaad inspect``: very many images, on all cores or many machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mambaad.cli import checks
from mambaad.cli.exit_codes import ExitCode
from mambaad.cli.interrupts import again, exit_on_interrupt
from mambaad.cli.options import Device, MaxPixelsAs, Precision, RequireSignature
from mambaad.cli.output import show
from mambaad.errors import ConfigError

_SHOWN = 20


def inspect(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Bundle, or run folder made by mambaad train.")
    ],
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCES",
            help="Images, folders, 'patterns/*.png', manifests (.parquet, .csv), s3://BUCKET/...",
        ),
    ],
    out: Annotated[
        str, typer.Option(help="Folder of the job, or its URL in a store: records, markers.")
    ],
    executor: Annotated[
        str, typer.Option(help="processes: of this machine; ray: of a cluster.")
    ] = "processes",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of workers. [one a core; on a GPU one, with ray one for each GPU]"
        ),
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Cluster to work on, with --executor ray. [one started here]")
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Images to a shard.")] = 256,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the job in --out, if there is one.")
    ] = False,
    product: Annotated[
        str | None,
        typer.Option("--class", help="Product shown in all images. [inferred for each image]"),
    ] = None,
    maps: Annotated[
        bool, typer.Option("--maps", help="Keep the anomaly maps, with 16 bits a pixel.")
    ] = False,
    digest: Annotated[
        bool, typer.Option("--digest", help="List the files' SHA-256, and hold them to it.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a page of a sample of the images.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Images on the page.")] = 200,
    junit: Annotated[
        Path | None,
        typer.Option(
            help="Write verdicts as JUnit XML; exit code 1 if any image is neither PASS nor REVIEW."
        ),
    ] = None,
    image_seconds: Annotated[
        float, typer.Option(help="Seconds that an image may take before its worker is ended.")
    ] = 120.0,
    store_seconds: Annotated[
        float, typer.Option(help="Seconds to wait for a store that fails before the job ends.")
    ] = 300.0,
    time: Annotated[
        str | None, typer.Option(help="Time in the records, ISO 8601. [that of the job's begin]")
    ] = None,
    precision: Precision = "float32",
    device: Device = "auto",
    max_pixels: MaxPixelsAs = None,
    require_signature: RequireSignature = None,
) -> None:
    """Inspect very many images. On all cores, or on many machines; can be resumed."""
    from mambaad.files import check_writable, write_text

    if junit:
        check_writable(junit)
    checks.check_compute(precision, device)
    checks.check_source(bundle, product=product)
    if junit:
        checks.check_calibrated(bundle, precision)
    checks.check_installed("pyarrow", "shards", "mambaad inspect")
    from mambaad.workflows.inspect import inspect as run_inspection
    from mambaad.workflows.inspect_page import failures, is_rejected, write_junit, write_page

    chosen = _executor(executor, workers, ray_address)
    kept = f"interrupted; finished shards are kept in {out}; resume with: {again('--resume')}"
    with exit_on_interrupt(kept):
        summary = run_inspection(
            bundle,
            sources,
            out,
            executor=chosen,
            resume=resume,
            product=product,
            precision=precision,  # type: ignore[arg-type]  # checked above
            device=device,
            max_pixels=max_pixels,
            shard_size=shard_size,
            maps=maps,
            digests=digest,
            image_seconds=image_seconds,
            store_seconds=store_seconds,
            time=time,
            report=report,
        )
        show(f"{summary.rows - summary.errors - summary.skipped} images: {out}")
        if summary.errors:
            show(f"{summary.errors} not inspected: see below, and their records")
        if summary.skipped:
            show(f"{summary.skipped} passed over as usual: see their records")
        for verdict, count in summary.by_verdict.most_common():
            show(f"{verdict:16}{count}")
        for error in failures(summary, _SHOWN):
            show(f"mambaad: {error}", err=True)
        if summary.errors > _SHOWN:
            show(f"mambaad: and {summary.errors - _SHOWN} more", err=True)
        if report:
            page = write_page(summary, bundle, report, sample, device=device)
            show(f"report: {page}")
        if junit:
            write_text(junit, write_junit(summary))
    if summary.errors or (junit and is_rejected(summary)):
        raise typer.Exit(ExitCode.FAILED)


def _executor(name: str, workers: int | None, address: str | None):  # type: ignore[no-untyped-def]
    if name == "processes":
        if address is not None:
            raise ConfigError("--ray-address is for --executor ray; omit it, or give both")
        from mambaad.shards.processes import Processes

        return Processes(workers)
    if name == "ray":
        checks.check_installed("ray", "ray", "--executor ray")
        from mambaad.shards.on_ray import Ray

        return Ray(workers, address)
    raise ConfigError(f"--executor: expected processes or ray, got '{name}'")
