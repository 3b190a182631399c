"""What the review loop does with a service's store from the command line; the service may run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, select

from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.snapshot import opened
from mambaad.errors import RunError
from mambaad.inspection.calibration import Calibration, read_calibration
from mambaad.inspection.product_settings import ProductSettings
from mambaad.serve.product_setting import ProductSetting, adjusted
from mambaad.serve.review.export import export_decisions
from mambaad.serve.review.new_bundle import recalibrate_bundle
from mambaad.serve.review.parts import ReviewedPart
from mambaad.serve.review.sampling import SECRET_FILE, read_secret
from mambaad.serve.settings import ServeSettings
from mambaad.serve.store.database import existing
from mambaad.serve.store.images import ImageStore
from mambaad.serve.store.reviewed import reviewed_parts
from mambaad.serve.store.rows import read_time
from mambaad.serve.store.tables import setting


def recalibrate(
    bundle: Path,
    out: Path,
    data: Path,
    database: str | None = None,
    *,
    target_fpr: float = 0.01,
    review_fpr: float = 0.05,
    since: str | None = None,
    device: str = "auto",
) -> Calibration:
    """Write a bundle with thresholds from a store's random share, and the page's settings.

    Args:
        bundle: whose thresholds are set again.
        out: the new bundle.
        data: folder of the service's data.
        database: its URL; None is SQLite in that folder.
        target_fpr, review_fpr, device: see
            :func:`mambaad.serve.review.new_bundle.recalibrate_bundle`, also for the errors.
        since: use parts that were inspected at this time or later, such as since the line was
            changed; see :func:`mambaad.serve.store.rows.read_time`.

    Raises:
        RunError, StoreError: there is no store.
        ImageChanged: a stored image is not the one that was inspected.
    """
    first = None if since is None else read_time(since, "--since")
    with _store(data, database) as engine:
        with engine.connect() as connection:
            parts = reviewed_parts(connection, sampled=True, since=first)
            rows = connection.execute(select(setting.c.product, setting.c.content)).all()
        settings = {r.product: ProductSetting.model_validate_json(r.content) for r in rows}
        return recalibrate_bundle(
            bundle,
            out,
            parts,
            _image_of(data),
            read_secret(data),
            target_fpr=target_fpr,
            review_fpr=review_fpr,
            settings=_areas(bundle, settings),
            device=device,
        )


def export(
    data: Path, out: Path, database: str | None = None, *, for_calibration: bool = False
) -> dict[str, int]:
    """Write a store's decisions as a data set; see :func:`export_decisions`."""
    with _store(data, database) as engine:
        with engine.connect() as connection:
            parts = (
                reviewed_parts(connection, sampled=True)
                if for_calibration
                else reviewed_parts(connection, decided=True)
            )
        return export_decisions(
            parts,
            out,
            _image_of(data),
            for_calibration=for_calibration,
            secret=read_secret(data) if for_calibration else b"",
        )


def _areas(bundle: Path, settings: dict[str, ProductSetting]) -> dict[str, ProductSettings]:
    """The inspected area, smallest defect and scale of each product under a bundle."""
    with opened(bundle) as snapshot:
        size = read_config(snapshot).size
        calibration = read_calibration(snapshot, size)
    if calibration is None:
        return {}
    known = {name: s for name, s in settings.items() if name in calibration.classes}
    found = adjusted(calibration, known, size, "")  # thresholds of no bundle
    return {name: c.settings for name, c in found.classes.items()}


def _image_of(data: Path) -> Callable[[ReviewedPart], bytes | None]:
    images = ImageStore(data, make=False)
    return lambda part: images.read_image(part.digest, part.format)


@contextmanager
def _store(data: Path, database: str | None) -> Iterator[Engine]:
    if not (data / SECRET_FILE).is_file():
        raise RunError(f"there is no data of a service in {data}; give its --data folder")
    with existing(ServeSettings(data=data, database=database).database_url) as engine:
        yield engine
