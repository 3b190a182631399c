"""The page of an inspection: every image, with explanations of the flagged ones."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from mambaad.data.depth import with_reading
from mambaad.data.exclusion import without
from mambaad.data.layouts import read_data
from mambaad.errors import RunError
from mambaad.file_errors import cannot_write
from mambaad.files import write_text, written_whole
from mambaad.inspection.inspector import Inspected, Inspector
from mambaad.inspection.prediction import Prediction
from mambaad.inspection.records import Record
from mambaad.report.explaining import Explained, Explaining
from mambaad.report.inspection_rendering import Card, ClassSummary, Gallery, gallery_page
from mambaad.report.page_files import PAGE, PICTURES
from mambaad.report.pictures import TRUE, Shot, heat_file, image_file, outline_file
from mambaad.report.spool import MapSpool
from mambaad.report.words import how_sure, image_shape, outcome, what, where
from mambaad.types import Sample, Verdict

MOST_EXPLAINED = 50
"""Flagged parts explained per class: each costs up to nine runs of the decoder."""


class InspectionPage:
    """Collects inspected images, and writes ``index.html`` with its pictures beside it.

    Args:
        folder: folder of the page, created if absent.
        inspector: inspects the images; it can explain flagged parts if it keeps the model as
            trained.
        good: a data set with good training parts to compare flagged parts with, or None.
        most_explained: flagged parts explained per class; None for :data:`MOST_EXPLAINED`.

    Raises:
        RunError: the folder cannot be created, or an earlier page in it cannot be removed.
        DataError: a data set that cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        inspector: Inspector,
        good: Path | None = None,
        most_explained: int | None = None,
    ) -> None:
        self._folder = folder
        self._inspector = inspector
        try:
            (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(f"--report: {folder}", error) from error
        parts: dict[str, Sequence[Sample]] = {}
        if good is not None:
            classes = read_data(good, layout=inspector.config.layout)
            classes = without(classes, good, inspector.config.exclude or ())
            classes = with_reading(classes, inspector.reading)
            parts = {c.name: c.train for c in classes if c.name in inspector.products}
        most = MOST_EXPLAINED if most_explained is None else most_explained
        self._most = most
        self._explaining = Explaining(inspector, parts, most, self._save)
        self._cards: list[Card] = []
        self._records: list[Record] = []
        # Without a calibration, colours compare the images of this page with each other.
        self._maps = MapSpool() if inspector.calibration is None else None
        try:  # an earlier page must not show these pictures
            (folder / PAGE).unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(f"--report: {folder / PAGE}", error) from error

    def add(self, inspected: Inspected) -> None:
        """Add an image, with or without an error.

        A picture that cannot be written, or an explanation that fails, becomes a note on the card:
        it must not stop the inspection.
        """
        record, prediction, observed = inspected
        pixels, sample = observed.pixels, observed.item.sample
        name = f"{len(self._cards) + 1:06}"
        card = Card(
            record.path,
            record.product or "",
            record.verdict.value if record.verdict else "ERROR" if record.error else "",
            record.score,
            None,
            what=record.error or "",
            outcome=outcome(record.verdict, sample.is_defective) if sample else "",
            truth=record.defect_type,
        )
        if pixels is not None and prediction is not None:
            card = self._judged(card, prediction, (pixels.shape[0], pixels.shape[1]))
            try:
                card = replace(card, shot=self._shot(name, pixels, prediction, observed.mask))
            except (RunError, OSError) as error:
                card = replace(card, details=[f"No picture is available: {error}"])
            if prediction.regions:
                scored_map = observed.result[0].scored_map
                found = self._explaining.explain(name, pixels, prediction, scored_map)
                card = _explained(card, found)
        self._records.append(record)
        self._cards.append(card)

    def _judged(self, card: Card, prediction: Prediction, shape: tuple[int, int]) -> Card:
        """Add to a card what was found, in plain words."""
        low, high = self._inspector.range_of(prediction)
        severity = (prediction.score - low) / ((high - low) / 2)
        calibration = self._inspector.calibration
        c = calibration.classes.get(prediction.product or "") if calibration else None
        return replace(
            card,
            severity=severity,
            what=card.what or what(prediction),
            where=where(prediction.regions, image_shape(prediction, shape)),
            sure=how_sure(prediction, severity, len(c.scores)) if c else "",
        )

    def _shot(
        self,
        name: str,
        pixels: UInt8[np.ndarray, "h w 3"],
        prediction: Prediction,
        mask: Bool[np.ndarray, "h2 w2"] | None,
    ) -> Shot:
        """Write the picture of an image, and its layers."""
        shape = pixels.shape[0], pixels.shape[1]
        found, files = prediction.region_mask, {"image": (f"{name}.jpg", image_file(pixels))}
        heat = f"{name}.heat.webp"
        if self._maps is None:
            bounds = self._inspector.range_of(prediction)
            files["heat"] = (heat, heat_file(prediction.anomaly_map, bounds))
        else:
            self._maps.add(prediction.product or "", heat, prediction.anomaly_map)
        if found is not None and found.any():
            files["outline"] = (f"{name}.outline.png", outline_file(found, shape))
        if mask is not None and mask.any():
            files["truth"] = (f"{name}.truth.png", outline_file(mask, shape, TRUE))
        for file, content in files.values():
            self._write(file, content)
        return Shot(
            f"{PICTURES}/{name}.jpg",
            f"{PICTURES}/{heat}",
            outline=f"{PICTURES}/{files['outline'][0]}" if "outline" in files else "",
            truth=f"{PICTURES}/{files['truth'][0]}" if "truth" in files else "",
            ratio=shape[1] / shape[0],
        )

    def write(
        self,
        title: str,
        facts: Mapping[str, str],
        tables: Mapping[str, Sequence[Sequence[str]]] | None = None,
        *,
        lead: str = "",
        warnings: Sequence[str] = (),
        counted: str = "",
    ) -> Path:
        """Write the page of all images so far; returns its path.

        Args:
            title: heading of the page.
            facts: names and values below it, in order.
            tables: tables before the counts of verdicts, rows by title, the header row first.
            lead: what came out, in a sentence; by default how many images have which verdict.
            warnings: sentences on what is not as it should be.
            counted: title of the counts of this page's images; by default what they count.

        Raises:
            RunError: the page cannot be written.
        """
        calibration = self._inspector.calibration
        classes = {}
        for name in sorted({r.product for r in self._records if r.product}):
            c = calibration.classes.get(name) if calibration else None
            scores = [r.score for r in self._records if r.product == name and r.score is not None]
            classes[name] = (
                ClassSummary(c.scores.tolist(), c.review.value, c.fail.value, scores)
                if c
                else ClassSummary(scores=scores)
            )
        if self._maps is not None:
            least = self._inspector.heatmap_range if self._inspector.is_finished else None
            for file, content in self._maps.layers(least):
                self._write(file, content)
        if self._explaining.left_some_out:
            facts = {**facts, "Explained": f"the first {self._most} flagged parts of a class"}
        common, cards = _relative(self._cards)
        gallery = Gallery(
            title,
            lead or self._lead(),
            {**({"Images in": common} if common else {}), **facts},
            {
                **(tables or {}),
                counted or ("Verdicts" if calibration else "Images") + " by class": self._table(),
            },
            classes,
            cards,
            warnings,
            hint="" if calibration else _how_to_calibrate(self._inspector),
        )
        write_text(self._folder / PAGE, gallery_page(gallery))
        return self._folder / PAGE

    def _lead(self) -> str:
        counts = Counter(card.verdict or "without a verdict" for card in self._cards)
        order = [*(verdict.value for verdict in Verdict), "without a verdict", "ERROR"]
        shown = ", ".join(f"{counts[name]} {name}" for name in order if counts[name])
        images = len(self._cards)
        return f"{images} image{'s' if images != 1 else ''}: {shown}." if images else "No images."

    def _table(self) -> list[list[str]]:
        verdicts = [v.value for v in Verdict] if self._inspector.calibration else []
        rows = [["class", "images", *verdicts, "errors"]]
        names = sorted({r.product or "" for r in self._records})
        for name in [*names, None]:
            records = [r for r in self._records if name is None or (r.product or "") == name]
            counts = Counter(r.verdict.value for r in records if r.verdict)
            errors = sum(r.error is not None for r in records)
            label = "all" if name is None else name or "unknown"
            numbers = [len(records), *(counts[v] for v in verdicts), errors]
            rows.append([label, *map(str, numbers)])
        return rows

    def _save(self, name: str, pixels: UInt8[np.ndarray, "h w 3"]) -> str:
        """Write a picture as JPEG; returns its address."""
        with written_whole(self._folder / PICTURES / name) as temporary:
            Image.fromarray(pixels).save(temporary, format="JPEG", quality=85)
        return f"{PICTURES}/{name}"

    def _write(self, name: str, content: bytes) -> None:
        with written_whole(self._folder / PICTURES / name) as temporary:
            temporary.write_bytes(content)


def _explained(card: Card, found: Explained) -> Card:
    return replace(
        card,
        details=[*card.details, *found.lines],
        near=found.near,
        near_words=found.near_words,
        scales=found.scales,
        scales_words=found.scales_words,
    )


def _relative(cards: Sequence[Card]) -> tuple[str, list[Card]]:
    """Name images by their paths below the folder that they share: that folder, and the cards."""
    folders = {str(Path(card.name).parent) for card in cards if card.name}
    try:
        common = os.path.commonpath(folders) if folders else ""
    except ValueError:  # some absolute, others not; or on several drives
        common = ""
    if not common:
        return "", list(cards)
    return common, [
        replace(card, name=str(Path(card.name).relative_to(common))) if card.name else card
        for card in cards
    ]


def _how_to_calibrate(inspector: Inspector) -> str:
    """The command that gives this model verdicts."""
    source = Path(inspector.source)
    run = shlex.quote(str(source)) if source.is_dir() else "RUN"
    if not inspector.is_finished:
        return f"mambaad train DATA --out {run} --resume, then calibrate"
    held_out = "" if inspector.config.holdout else " --cross-fit 3"
    bundled = "" if source.is_dir() else f" and mambaad bundle RUN --out {source.name}"
    return f"mambaad calibrate {run} DATA{held_out}{bundled}"
