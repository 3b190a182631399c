"""``mambaad recalibrate``: a bundle with thresholds from the random share, and nothing else new."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from mambaad.artifacts.bundle import ALLOWED, SUFFIX, listed, write_bundle
from mambaad.artifacts.manifest import CALIBRATION, WEIGHTS
from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.snapshot import opened
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.inspection.calibration import (
    Calibration,
    CalibrationPart,
    calibration_content,
    read_calibration,
    summarise_part,
)
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.product_settings import ProductSettings
from mambaad.inspection.rates import check_rates
from mambaad.inspection.stream import observe_one
from mambaad.progress import say
from mambaad.serve.review.parts import ReviewedPart
from mambaad.serve.review.pixels import stored_pixels
from mambaad.serve.review.recalibrate import recalibrated, usable_parts


def recalibrate_bundle(
    source: Path,
    out: Path,
    parts: Sequence[ReviewedPart],
    image_of: Callable[[ReviewedPart], bytes | None],
    secret: bytes,
    *,
    target_fpr: float = 0.01,
    review_fpr: float = 0.05,
    settings: Mapping[str, ProductSettings] | None = None,
    device: str = "auto",
) -> Calibration:
    """Write a bundle with new thresholds for every product of which the random share has parts.

    The stored images are observed by the bundle's model again, so it does not matter which bundle
    inspected them first. Products without a usable part, or with too many that wait for a decision
    (:func:`mambaad.serve.review.recalibrate.check_decided`), keep their thresholds.

    Args:
        source: the bundle, calibrated.
        out: the new bundle's file, ``*.mambaad``.
        parts: inspected parts with their decisions, drawn or not.
        image_of: reads the stored image as it came; None if it is not kept any more.
        secret: that the parts were drawn with.
        target_fpr, review_fpr: see :func:`mambaad.inspection.calibration.calibrate_class`.
        settings: of products, in place of the bundle's.
        device: see :class:`mambaad.Inspector`.

    Raises:
        ConfigError: wrong rates, or another suffix.
        RunError: no bundle, one without a calibration, or a file that cannot be written.
        DataError: no usable part of any product.
    """
    check_rates(target_fpr, review_fpr)
    if out.suffix != SUFFIX:
        raise ConfigError(f"--out: expected a file name that ends in {SUFFIX}, got {out}")
    with opened(source) as snapshot:
        manifest = snapshot.manifest
        if manifest is None:
            raise RunError(f"{source} is no bundle; make one with mambaad bundle")
        calibration = read_calibration(snapshot, read_config(snapshot).size)
        if calibration is None:
            raise RunError(f"{source} has no calibration; run mambaad calibrate first")
        members = {name: snapshot.read(name) for name in snapshot.names() if name in ALLOWED}
        weights = snapshot.digest(WEIGHTS)
    settings = settings or {}
    inspector = Inspector(source, calibration.precision, device=device)  # type: ignore[arg-type]
    if inspector.weights != weights:
        raise RunError(f"{source} was replaced meanwhile; run the command again")
    summaries = {
        name: found
        for name, c in calibration.classes.items()
        if (
            found := _observed(
                inspector, name, settings.get(name, c.settings), parts, image_of, secret
            )
        )
    }
    if not summaries:
        raise DataError(
            "the random share of no product has a part that was confirmed good and whose image is "
            "kept, and few enough that wait; decide on the parts in review first"
        )
    new = recalibrated(
        calibration, summaries, settings, target_fpr=target_fpr, review_fpr=review_fpr
    )
    members[CALIBRATION] = bytearray(b"".join(calibration_content(new)))
    changed = {
        "files": listed(members),
        "calibrated": new.method,
        "versions": {**manifest.versions, "recalibrated by mambaad": version("mambaad")},
    }
    write_bundle(out, manifest.model_copy(update=changed), members)
    return new


def _observed(
    inspector: Inspector,
    product: str,
    settings: ProductSettings,
    parts: Sequence[ReviewedPart],
    image_of: Callable[[ReviewedPart], bytes | None],
    secret: bytes,
) -> list[CalibrationPart]:
    """Observe the usable good parts of a product; those without an image are left out.

    Images are removed by age and by verdict, never by score, and those of the random share are
    kept, so that leaving some out does not bias what remains.
    """
    usable = usable_parts(parts, product, secret)
    if usable.to_decide:
        say(
            f"{product}: {usable.waiting} of {usable.drawn} drawn parts wait for a decision; its "
            f"thresholds stay until {usable.to_decide} more are decided on"
        )
        return []
    summaries = []
    for part in usable.good:
        content = image_of(part)
        if content is None:
            continue
        pixels = stored_pixels(content, part.id, inspector.reading)
        observation, quality = observe_one(inspector.engine, inspector.item(pixels)).result
        summaries.append(summarise_part(observation, quality, settings, len(usable.good)))
    return summaries
