"""Arguments refused before PyTorch is imported, which takes seconds.

The workflows check them too, since Python calls those directly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mambaad.errors import ConfigError, DataError, RunError


def check_source(source: Path, *, product: str | None = None) -> None:
    """Refuse what is neither a run folder nor a bundle, or has no such product.

    Raises:
        RunError, ConfigError: one line that says what was expected.
    """
    products = _products(source)
    if product is not None and products and product not in products:
        raise ConfigError(
            f"--class: the model was not trained on '{product}'; choose from {', '.join(products)}"
        )


def _products(source: Path) -> list[str]:
    """The products that a model can name: none before its training has ended."""
    from mambaad.artifacts.run_folder import is_finished, read_config, read_data_summary
    from mambaad.artifacts.snapshot import opened

    with opened(source) as run:
        read_config(run)
        return list(read_data_summary(run)["classes"]) if is_finished(run) else []


def check_calibrated(source: Path, precision: str) -> None:
    """Refuse a run or bundle that gives no verdicts (RunError)."""
    from mambaad.artifacts.manifest import CALIBRATION
    from mambaad.artifacts.run_folder import read_config
    from mambaad.artifacts.snapshot import opened

    with opened(source) as run:
        size = read_config(run).size
        found = run.has(CALIBRATION)
        if found:  # only then is NumPy worth its time
            from mambaad.inspection.calibration import read_calibration

            calibration = read_calibration(run, size)
            precision = run.export.precision if run.export else precision
            found = calibration is not None and calibration.precision == precision
    if not found:
        raise RunError(f"{source} has no calibration for {precision}; run mambaad calibrate first")


def calibration_of(source: Path) -> str | None:
    """The precision that a run or bundle is calibrated for; None if it is not (RunError)."""
    from mambaad.artifacts.manifest import CALIBRATION
    from mambaad.artifacts.run_folder import read_config
    from mambaad.artifacts.snapshot import opened

    with opened(source) as run:
        if not run.has(CALIBRATION):
            return None
        from mambaad.inspection.calibration import read_calibration

        calibration = read_calibration(run, read_config(run).size)
        return calibration.precision if calibration else None


def how_to_calibrate(source: Path) -> list[str]:
    """The flags of mambaad calibrate that suit a run: none where it has parts held out."""
    from mambaad.artifacts.run_folder import read_config
    from mambaad.artifacts.snapshot import opened

    with opened(source) as run:
        return [] if read_config(run).holdout else ["--cross-fit", "3"]


def check_protocol(protocol: str) -> None:
    """Refuse an unknown protocol of metrics (ConfigError)."""
    from mambaad.metrics.names import PROTOCOLS

    if protocol not in PROTOCOLS:
        raise ConfigError(f"--protocol: expected one of {', '.join(PROTOCOLS)}, got '{protocol}'")


def check_place(at: str, protocol: str) -> None:
    """Refuse an unknown place to compare pixels at (ConfigError)."""
    from mambaad.metrics.names import check_place as check

    check(at, protocol)


def check_compute(precision: str, device: str, compile: str = "auto") -> None:
    """Refuse a precision, a device or a way to compile that no machine has (ConfigError)."""
    from mambaad.inference.compute import check_compilation, check_device, check_precision

    check_precision(precision)
    check_device(device)
    check_compilation(compile)


def check_tiles(tiles: str | None) -> None:
    """Refuse tiles that no image can be seen in (ConfigError)."""
    from mambaad.size import parse_tiles

    if tiles is not None:
        parse_tiles(tiles)


def check_images(images: Iterable[Path]) -> None:
    """Refuse images and folders that do not exist (DataError)."""
    for path in images:
        if not path.exists():
            raise DataError(f"{path} does not exist; give an image or a folder of images")


def check_file(path: Path, flag: str) -> None:
    """Refuse a file that does not exist, or is none (ConfigError)."""
    if path.exists() and not path.is_file():
        raise ConfigError(f"{flag}: {path} is no regular file; give a file")
    if not path.is_file():
        raise ConfigError(f"{flag}: there is no file {path}; check the path")


def check_test_data(source: Path, data: Path) -> None:
    """Refuse what is no folder with classes to test a run or bundle on (DataError)."""
    from mambaad.artifacts.run_folder import read_config
    from mambaad.artifacts.snapshot import opened
    from mambaad.data.layouts import class_names

    with opened(source) as run:
        layout = read_config(run).layout
    class_names(data, split="test", layout=layout)


def check_training(
    data: Path, out: Path, settings: Mapping[str, Any], device: str, *, resume: bool
) -> None:
    """Refuse settings that cannot work, and data that are not there or lack a class.

    Raises:
        ConfigError, DataError, RunError: one line that says what was expected.
    """
    from mambaad.artifacts.run_folder import check_longer, check_new, is_finished, read_config
    from mambaad.artifacts.snapshot import opened
    from mambaad.config import check_names, make_config
    from mambaad.data.exclusion import leave_out
    from mambaad.data.layouts import read_data
    from mambaad.inference.compute import check_device

    check_device(device)
    check_names(settings)
    started, has_ended = {}, False
    if not resume:
        check_new(out)
    else:
        with opened(out) as run:
            started, has_ended = read_config(run).model_dump(), is_finished(run)
            if "epochs" in settings:
                has_ended = not check_longer(run, settings["epochs"]) and has_ended
    config = make_config({**started, **settings})
    if not resume and config.encoder_weights not in ("timm", "random"):
        check_file(Path(config.encoder_weights), "--encoder-weights")
    if not has_ended:  # then nothing is read
        listed = read_data(data, config.classes, layout=config.layout)
        if not resume:
            leave_out(listed, data, config.exclude or ())


def check_installed(module: str, extra: str, what: str) -> None:
    """Refuse what needs a package that is not installed (ConfigError).

    Args:
        module: that it imports.
        extra: of this package that has it.
        what: needs it.
    """
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ConfigError(f"{what} needs {module}; run pip install 'mambaad[{extra}]'")
