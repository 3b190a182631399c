"""``mambaad demo``: a small synthetic factory, one model for it, and its report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from PIL import Image

from mambaad.artifacts.manifest import has_begun
from mambaad.artifacts.run_folder import read_log
from mambaad.artifacts.snapshot import opened
from mambaad.data.synthetic.catalogue import PRODUCTS
from mambaad.data.synthetic.factory import make_data
from mambaad.data.synthetic.render import render_part
from mambaad.errors import RunError
from mambaad.file_errors import cannot_read, cannot_write
from mambaad.files import is_empty, locked, read_regular, write_text, written_whole
from mambaad.inspection.inspector import Inspector
from mambaad.progress import say
from mambaad.report.run_page import RunPage
from mambaad.workflows.evaluate import Evaluation, evaluate
from mambaad.workflows.predict import predict
from mambaad.workflows.train import train

SETTINGS, DATA, RUN, NEW, PREDICTIONS, REPORT = (
    "demo.json",
    "data",
    "run",
    "new",
    "predictions",
    "report.html",
)


@dataclass(frozen=True)
class DemoSettings:
    """The size of the factory, and the length of the training.

    ``train``, ``test``: images of each class. ``size``: side of an image in pixels.
    ``head_steps``: of the residual head's training; 0 for no head.
    """

    classes: tuple[str, ...]
    train: int
    test: int
    size: int
    epochs: int
    head_steps: int
    difficulty: float = 0.3
    seed: int = 0


CLASSES = ("bottle", "fabric", "screw", "tile")
# Chosen to take five minutes, and half a minute or so, on two cores.
FULL = DemoSettings(CLASSES, train=40, test=40, size=192, epochs=30, head_steps=150)
QUICK = DemoSettings(CLASSES, train=20, test=16, size=128, epochs=12, head_steps=0)


def demo(out: str | Path = "mambaad-demo", *, quick: bool = False) -> Evaluation:
    """Draw a small factory, train one model for it, evaluate it, inspect new parts, and report.

    After an interruption, call again with the same arguments to resume.

    Args:
        out: the folder to create, with ``data``, ``run``, ``new`` images, ``predictions``, and
            ``report.html``.
        quick: use smaller and fewer images.

    Returns:
        The metrics that the report shows.

    Raises:
        RunError: ``out`` is not a demo's folder, cannot be written, or is being written by another
            process.
        Interrupted: after Ctrl-C while training.
    """
    out, settings = Path(out), QUICK if quick else FULL
    _check_free(out)
    with locked(out, make=True):
        return _demo(out, settings)


def _demo(out: Path, settings: DemoSettings) -> Evaluation:
    _prepare_folder(out, settings)
    data, run, new = out / DATA, out / RUN, out / NEW
    if not data.exists():
        make_data(
            data,
            settings.classes,
            train=settings.train,
            test=settings.test,
            size=settings.size,
            seed=settings.seed,
            difficulty=settings.difficulty,
        )
    train(
        data,
        run,
        resume=has_begun(run),
        encoder="embedded",
        variant="lite",
        recipe="fast",
        size=(settings.size, settings.size),
        epochs=settings.epochs,
        head="residual" if settings.head_steps else "off",
        head_steps=settings.head_steps or None,
    )
    say("evaluating on test images")
    inspector = Inspector(run)
    page = RunPage(inspector.heatmap_range)
    evaluation = evaluate(inspector, data, sinks=[page.add])
    with opened(run) as trained:
        log = read_log(trained)
    _render_new(new, settings)
    for row in predict(inspector, [new], out / PREDICTIONS):
        if row.error:
            raise RunError(row.error)
    page.write(
        out / REPORT,
        "MambaAD on a synthetic factory",
        inspector.config,
        log,
        f"{evaluation.protocol}, pixels at the {evaluation.at}'s size",
        evaluation.to_rows(),
        evaluation.scores,
    )
    return evaluation


def _check_free(out: Path) -> None:
    """Refuse a folder with anything but a demo in it."""
    try:
        is_free = not out.exists() or (out.is_dir() and is_empty(out))
        if not (is_free or (out / SETTINGS).is_file()):
            raise RunError(f"--out: {out} exists and holds no demo; choose another folder")
    except OSError as error:
        raise RunError(cannot_read(f"--out: {out}", error)) from error


def _prepare_folder(out: Path, settings: DemoSettings) -> None:
    """Note the settings, or check that an earlier call with the same ones created the folder."""
    path = out / SETTINGS
    text = json.dumps({"version": version("mambaad"), **asdict(settings)}, indent=2) + "\n"
    try:
        if path.is_file() and read_regular(path, 2**20) != text.encode():
            raise RunError(
                f"--out: {out} holds a demo with other settings (--quick, or another version); "
                "remove it, or choose another folder"
            )
    except OSError as error:
        raise RunError(cannot_read(path, error)) from error
    write_text(path, text)


def _render_new(folder: Path, settings: DemoSettings) -> None:
    """Draw a good and a defective part of each class that are in neither train nor test."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    for number, name in enumerate(settings.classes):
        defect = PRODUCTS[name].defects[0]
        for kind in (None, defect):
            part = render_part(
                name,
                2**31 + number,
                size=settings.size,
                defect=kind,
                difficulty=settings.difficulty,
            )
            with written_whole(folder / f"{name}_{kind or 'good'}.png") as temporary:
                Image.fromarray(part.image).save(temporary, format="PNG")
