"""``mambaad demo``: a small synthetic factory, one calibrated model for it, and its report."""

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
from mambaad.inspection.records import Record
from mambaad.inspection.stream import Observed
from mambaad.progress import say
from mambaad.report.inspection_page import InspectionPage
from mambaad.report.page_files import PAGE
from mambaad.report.run_page import RunPage, example_of
from mambaad.report.run_rendering import Example
from mambaad.workflows.calibrate import calibrate
from mambaad.workflows.evaluate import Evaluation, evaluate
from mambaad.workflows.predict import predict
from mambaad.workflows.train import train
from mambaad.workflows.verdicts import VerdictEvaluation

SETTINGS, DATA, RUN, NEW, PREDICTIONS, TESTED, REPORT = (
    "demo.json",
    "data",
    "run",
    "new",
    "predictions",
    "tested",
    "report.html",
)


@dataclass(frozen=True)
class DemoSettings:
    """The size of the factory, and the length of the training.

    ``train``, ``test``: images of each class. ``holdout``: share of the training images that the
    calibration has instead. ``size``: side of an image in pixels. ``head_steps``: of the residual
    head's training; 0 for no head. ``target_fpr``, ``review_fpr``: rates of the calibration.
    """

    classes: tuple[str, ...]
    train: int
    test: int
    size: int
    epochs: int
    head_steps: int
    holdout: float = 0.5
    target_fpr: float = 0.02
    review_fpr: float = 0.1
    difficulty: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class Demo:
    """What a demo found.

    ``evaluation``: on the test images, with verdicts. ``new``: the records of the new parts.
    """

    evaluation: Evaluation
    new: tuple[Record, ...]

    @property
    def verdicts(self) -> VerdictEvaluation:
        """How many defects were found."""
        assert self.evaluation.verdicts is not None
        return self.evaluation.verdicts


CLASSES = ("bottle", "fabric", "screw", "tile")
# Chosen to take five minutes, and a minute or so, on two cores.
FULL = DemoSettings(CLASSES, train=80, test=40, size=192, epochs=30, head_steps=150)
QUICK = DemoSettings(CLASSES, train=40, test=16, size=128, epochs=12, head_steps=0)
_EXPLAINED = 2  # flagged test images of each class: each takes nine runs of the decoder


def demo(out: str | Path = "mambaad-demo", *, quick: bool = False) -> Demo:
    """Draw a small factory, train and calibrate one model for it, and inspect test and new parts.

    After an interruption, call again with the same arguments to resume.

    Args:
        out: the folder to create, with ``data``, ``run``, ``new`` images, ``predictions`` for
            them, a page of all images ``tested``, and ``report.html``.
        quick: use smaller and fewer images.

    Returns:
        What the report shows.

    Raises:
        RunError: ``out`` is not a demo's folder, cannot be written, or is being written by another
            process.
        Interrupted: after Ctrl-C while training.
    """
    out, settings = Path(out), QUICK if quick else FULL
    _check_free(out)
    with locked(out, make=True):
        return _demo(out, settings)


def _demo(out: Path, settings: DemoSettings) -> Demo:
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
        holdout=settings.holdout,
        encoder="embedded",
        variant="lite",
        recipe="fast",
        size=(settings.size, settings.size),
        epochs=settings.epochs,
        head="residual" if settings.head_steps else "off",
        head_steps=settings.head_steps or None,
    )
    say("calibrating on the good parts that were held out")
    calibrate(run, data, target_fpr=settings.target_fpr, review_fpr=settings.review_fpr)
    say("evaluating on test images")
    inspector = Inspector(run, keep_trained=True)
    report = RunPage(inspector)
    with locked(out / TESTED, make=True):
        tested = InspectionPage(out / TESTED, inspector, data, _EXPLAINED)

        def show(observed: Observed) -> None:
            assert observed.item.sample is not None  # of a data set
            inspected = inspector.judge(observed, observed.item.sample.class_name)
            report.add(inspected)
            tested.add(inspected)

        evaluation = evaluate(inspector, data, verdicts=True, sinks=[show])
        found = evaluation.verdicts
        assert found is not None  # as requested
        tested.write(
            "Test images of the demo",
            {"Products": ", ".join(settings.classes)},
            {"What was found": found.plain_rows()},
            lead=found.lead(),
            warnings=found.warnings(),
        )
    _render_new(new, settings)
    records = predict(inspector, [new], out / PREDICTIONS)
    for record in records:
        if record.error:
            raise RunError(record.error)
    with opened(run) as trained:
        log = read_log(trained)
    report.write(
        out / REPORT,
        "MambaAD on a synthetic factory",
        lead=found.lead(),
        log=log,
        protocol=f"{evaluation.protocol}, pixels at the {evaluation.at}'s size",
        metrics=evaluation.to_rows(),
        scores=evaluation.scores,
        found=found.plain_rows(),
        warnings=found.warnings(),
        intro=_intro(settings),
        new=_new_examples(inspector, new),
        gallery=f"{TESTED}/{PAGE}",
        next_steps=NEXT_STEPS,
    )
    return Demo(evaluation, tuple(records))


NEXT_STEPS = {
    "mambaad train DATA --out RUN --holdout 0.2 --recipe fast --variant lite": (
        "one model for all products; DATA has a folder for each, with good parts in "
        "PRODUCT/train/good. Add --encoder embedded to download no encoder: it finds less"
    ),
    "mambaad calibrate RUN DATA": "limits for PASS, REVIEW and FAIL, from the parts held out",
    "mambaad predict RUN IMAGES --out RESULTS --report PAGE": "verdicts, heatmaps, and a page",
}
"""What to type next, with what it does."""


def _intro(settings: DemoSettings) -> list[str]:
    products = len(settings.classes)
    trained = round(settings.train * (1 - settings.holdout))
    return [
        f"One model learned {products} products from {trained} drawn pictures of good parts of "
        f"each; it saw no defect. {settings.train - trained} further good parts of each set the "
        f"limits of the verdicts. Then it inspected {settings.test} test images of each, half of "
        "them defective, and some new parts."
    ]


def _new_examples(inspector: Inspector, folder: Path) -> list[Example]:
    """The new parts as the report shows them: what the model says, and what they are."""
    examples = []
    paths = sorted(folder.iterdir())
    for inspected, path in zip(
        inspector.inspect_items(map(inspector.item, paths)), paths, strict=True
    ):
        label = path.stem.partition("_")[2]
        example = example_of(inspector, inspected, path.name, label, label != "good")
        examples.append(example)
    return examples


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
