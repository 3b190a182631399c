"""The whole job on parts that are drawn here: a small factory, one model, its report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from PIL import Image

from mambaad.artifacts.run_folder import CONFIG
from mambaad.data.synthetic import PRODUCTS, make_data, render_part
from mambaad.errors import RunError
from mambaad.files import write_text, written_whole
from mambaad.progress import say
from mambaad.report.run_page import write_run_report
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
class Plan:
    """How large the factory is, and how long the training."""

    classes: tuple[str, ...]
    train: int
    test: int
    size: int
    epochs: int
    difficulty: float = 0.3
    seed: int = 0


CLASSES = ("bottle", "fabric", "screw", "tile")
# As much as fits into five minutes, and into 90 seconds, on two cores.
FULL = Plan(CLASSES, train=40, test=40, size=192, epochs=30)
QUICK = Plan(CLASSES, train=20, test=16, size=128, epochs=30)


def demo(out: str | Path = "mambaad-demo", *, quick: bool = False) -> Evaluation:
    """Make a small factory, train one model for it, evaluate it, inspect new parts, report.

    A second call goes on where an interrupted one stopped.

    Args:
        out: the folder to make: ``data``, ``run``, ``new`` images, ``predictions``, and
            ``report.html``.
        quick: smaller images and fewer of them.

    Returns:
        The metrics that the report shows.

    Raises:
        RunError: ``out`` is another folder, or cannot be written.
        Interrupted: after Ctrl-C while training.
    """
    out, plan = Path(out), QUICK if quick else FULL
    _claim(out, plan)
    data, run, new = out / DATA, out / RUN, out / NEW
    if not data.exists():
        make_data(
            data,
            plan.classes,
            train=plan.train,
            test=plan.test,
            size=plan.size,
            seed=plan.seed,
            difficulty=plan.difficulty,
        )
    train(
        data,
        run,
        resume=(run / CONFIG).exists(),
        encoder="embedded",
        variant="lite",
        recipe="fast",
        size=(plan.size, plan.size),
        epochs=plan.epochs,
    )
    say("evaluating on test images")
    evaluation = evaluate(run, data)
    _render_new(new, plan)
    for row in predict(run, [new], out / PREDICTIONS):
        if row.error:
            raise RunError(row.error)
    write_run_report(out / REPORT, run, data, evaluation, "MambaAD on a synthetic factory")
    return evaluation


def _claim(out: Path, plan: Plan) -> None:
    """Make the folder, or make sure that it is an earlier call's with the same plan."""
    settings = out / SETTINGS
    text = json.dumps({"version": version("mambaad"), **asdict(plan)}, indent=2) + "\n"
    try:
        if settings.is_file():
            if settings.read_text(encoding="utf-8") != text:
                raise RunError(
                    f"{out} is of a demo with other settings (--quick, or another version); "
                    "remove it, or choose another folder with --out"
                )
            return
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise RunError(f"{out} exists and is no demo; choose another folder with --out")
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"--out: {out} cannot be made or read ({error.strerror})") from error
    write_text(settings, text)


def _render_new(folder: Path, plan: Plan) -> None:
    """A good and a defective part of each class that were in neither train nor test."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be made ({error.strerror}); free some space") from error
    for number, name in enumerate(plan.classes):
        defect = PRODUCTS[name].defects[0]
        for kind in (None, defect):
            part = render_part(
                name, 2**31 + number, size=plan.size, defect=kind, difficulty=plan.difficulty
            )
            with written_whole(folder / f"{name}_{kind or 'good'}.png") as temporary:
                Image.fromarray(part.image).save(temporary, format="PNG")
