"""The page of an inspection: every image, with explanations of the flagged ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from mambaad.data.depth import with_reading
from mambaad.data.exclusion import without
from mambaad.data.images import read_sample_image
from mambaad.data.layouts import read_data
from mambaad.errors import RunError
from mambaad.file_errors import cannot_write
from mambaad.files import write_text, written_whole
from mambaad.inference.explain import Explainer, Explanation, GoodMatch, ReferenceParts
from mambaad.inspection.calibration import inspected_map
from mambaad.inspection.inspector import Inspected, Inspector
from mambaad.inspection.overlay import draw_outlines, heatmap_overlay
from mambaad.inspection.prediction import Prediction
from mambaad.inspection.records import Record
from mambaad.report.inspection_rendering import Card, ClassSummary, Gallery, gallery_page
from mambaad.report.page_files import PAGE, PICTURES
from mambaad.types import Sample, Verdict

_SIDE = 256  # of each picture, in pixels
_CROP = 0.25  # side of a close-up, as a share of the image's smaller side
_MIN_CONTRIBUTION = 0.005  # share of the score that a scan direction is named for
MOST_EXPLAINED = 50
"""Flagged parts explained per class: each costs up to nine runs of the decoder."""


class InspectionPage:
    """Collects inspected images, and writes ``index.html`` with its pictures beside it.

    Args:
        folder: folder of the page, created if absent.
        inspector: inspects the images; it can explain flagged parts if it keeps the model as
            trained.
        good: a data set with good training parts to compare flagged parts with, or None.

    Raises:
        RunError: the folder cannot be created, or an earlier page in it cannot be removed.
        DataError: a data set that cannot be read.
    """

    def __init__(self, folder: Path, inspector: Inspector, good: Path | None = None) -> None:
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
        trained = inspector.engine.trained
        self._explainer = Explainer(trained, inspector.size) if trained else None
        self._references = ReferenceParts(trained, inspector.size, parts) if trained else None
        self._cards: list[Card] = []
        self._records: list[Record] = []
        self._flagged = Counter[str]()
        try:  # an earlier page must not show these pictures
            (folder / PAGE).unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(f"--report: {folder / PAGE}", error) from error

    def add(self, inspected: Inspected) -> None:
        """Add an image, with or without an error.

        A picture that cannot be written, or an explanation that fails, becomes a note on the card:
        it must not stop the inspection.
        """
        record, prediction, pixels = (
            inspected.record,
            inspected.prediction,
            inspected.observed.pixels,
        )
        number = len(self._cards) + 1
        picture = explained = None
        explanation: list[str] = []
        severity = None
        if pixels is not None and prediction is not None:
            picture = f"{PICTURES}/{number:06}.jpg"
            try:
                self._save(picture, self._image_and_heatmap(pixels, prediction))
            except (RunError, OSError) as error:
                picture = None
                explanation.append(f"No picture is available: {error}")
            severity = self._severity(prediction)
            if prediction.regions:
                why = f"{PICTURES}/{number:06}.why.jpg"
                scored_map = inspected.observed.result[0].scored_map
                explained, sentences = self._explain_or_note(pixels, prediction, scored_map, why)
                explanation += sentences
        verdict = record.verdict.value if record.verdict else "ERROR" if record.error else ""
        self._records.append(record)
        self._cards.append(
            Card(
                record.path,
                record.product or "",
                verdict,
                record.score,
                severity,
                record.percentile,
                record.error or record.reason,
                record.defect_type,
                picture,
                explanation,
                explained,
            )
        )

    def write(
        self,
        title: str,
        facts: Mapping[str, str],
        tables: Mapping[str, Sequence[Sequence[str]]] | None = None,
    ) -> Path:
        """Write the page of all images so far; returns its path.

        Args:
            title: heading of the page.
            facts: names and values below it, in order.
            tables: further tables, rows by title, the header row first.

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
        if any(count > MOST_EXPLAINED for count in self._flagged.values()):
            facts = {**facts, "Explained": f"the first {MOST_EXPLAINED} flagged parts of a class"}
        gallery = Gallery(
            title,
            facts,
            {"Results by class": self._table(), **(tables or {})},
            classes,
            self._cards,
            is_calibrated=calibration is not None,
        )
        write_text(self._folder / PAGE, gallery_page(gallery))
        return self._folder / PAGE

    def _table(self) -> list[list[str]]:
        verdicts = [verdict.value for verdict in Verdict]
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

    def _severity(self, prediction: Prediction) -> float:
        """The score, scaled so that good parts' median is 0 and the FAIL threshold 1."""
        low, high = self._inspector.range_of(prediction)
        return (prediction.score - low) / ((high - low) / 2)

    def _image_and_heatmap(
        self, pixels: UInt8[np.ndarray, "h w 3"], prediction: Prediction
    ) -> UInt8[np.ndarray, "h2 w2 3"]:
        bounds = self._inspector.range_of(prediction)
        small = _fitted(pixels, _SIDE)
        overlay = heatmap_overlay(small, prediction.anomaly_map, bounds)
        if prediction.region_mask is not None:
            overlay = draw_outlines(overlay, prediction.region_mask)
        return np.concatenate([small, overlay], axis=1)

    def _explain_or_note(
        self,
        pixels: UInt8[np.ndarray, "h w 3"],
        prediction: Prediction,
        scored_map: Float[np.ndarray, "h2 w2"],
        target: str,
    ) -> tuple[str | None, list[str]]:
        """Explain a flagged part: the path of the picture, if there is one, and sentences."""
        if self._explainer is None:
            return None, ["No explanation is available: the model as trained was not kept."]
        product = prediction.product or ""
        self._flagged[product] += 1
        if self._flagged[product] > MOST_EXPLAINED:
            return None, [
                f"Only the first {MOST_EXPLAINED} flagged parts of a class are explained."
            ]
        try:
            return target, self._explain(self._explainer, pixels, prediction, scored_map, target)
        except Exception as error:  # the verdict stands, whatever fails in explaining it
            reason = " ".join(str(error).split()) or type(error).__name__
            return None, [f"No explanation is available: {reason}"]

    def _explain(
        self,
        explainer: Explainer,
        pixels: UInt8[np.ndarray, "h w 3"],
        prediction: Prediction,
        scored_map: Float[np.ndarray, "h2 w2"],
        target: str,
    ) -> list[str]:
        """Write the picture of an explanation: scales, peak and match; returns its sentences."""
        calibration = self._inspector.calibration
        c = calibration.classes[prediction.product or ""] if calibration else None
        inspected = inspected_map(scored_map, c.settings) if c else None
        found = explainer.explain(pixels, inspected)
        match = None
        if self._references:
            match = self._references.nearest(prediction.product or "", pixels, found.at)
        bounds = self._inspector.range_of(prediction)
        count = len(found.scale_maps)
        scale_bounds = (
            bounds[0] / count,
            bounds[1] / count,
        )  # the scales' maps add up to the whole
        tiles = [
            heatmap_overlay(_square(pixels), scale_map, scale_bounds)
            for scale_map in found.scale_maps
        ]
        size = self._inspector.size
        tiles.append(_close_up(pixels, found.at, size))
        if match:
            tiles.append(_close_up(read_sample_image(match.sample), match.at, size))
        self._save(target, np.concatenate([_square(tile) for tile in tiles], axis=1))
        return _sentences(found, match, prediction)

    def _save(self, name: str, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
        with written_whole(self._folder / name) as temporary:
            Image.fromarray(pixels).save(temporary, format="JPEG", quality=85)


def _sentences(found: Explanation, match: GoodMatch | None, prediction: Prediction) -> list[str]:
    region = prediction.regions[0]
    size = f"{region.area_px:.0f} px"
    if region.area_mm2 is not None:
        size += f", {region.area_mm2:.2f} mm²"
    count = len(prediction.regions)
    lines = [
        f"{f'Worst of {count} regions' if count > 1 else 'One region'}: {size}, "
        f"peak at x {region.peak_at[0]}, y {region.peak_at[1]}.",
        _shares(found),
    ]
    if found.directions:
        name, most = max(found.directions.items(), key=lambda item: item[1])
        lines.append(
            f"Scan direction that contributes most: {name} (without it the score there falls by "
            f"{most:.0%} more than in the rest of the image)."
            if most >= _MIN_CONTRIBUTION
            else "No single scan direction contributes: omitting any one hardly changes the score."
        )
    scales = len(found.strides)
    maps = f"the heatmaps of the {scales} scales" if scales > 1 else "the heatmap"
    shown = f"Pictures: {maps}, a close-up of the peak"
    if match:
        lines.append(
            f"{shown}, and the most similar place on a good part, {match.sample.path.name} "
            f"(similarity {match.similarity:.2f})."
        )
    else:
        lines.append(f"{shown}.")
    return lines


def _shares(found: Explanation) -> str:
    if len(found.strides) == 1:
        return f"The encoder's maps are compared as one, at stride {found.strides[0]}."
    if len(set(found.strides)) == 1:  # of groups of blocks
        names = [f"by map {i + 1}" for i in range(len(found.strides))]
        ends = ("early blocks", "late blocks")
    else:
        names = [f"at stride {stride}" for stride in found.strides]
        ends = ("fine", "coarse")
    names[0], names[-1] = f"{names[0]} ({ends[0]})", f"{names[-1]} ({ends[1]})"
    shares = ", ".join(
        f"{share:.0%} {name}" for share, name in zip(found.scale_shares, names, strict=True)
    )
    return f"Contributions of the encoder's maps to the score: {shares}."


def _fitted(pixels: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Shrink an image to at most ``side`` pixels high and wide."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return np.asarray(image)


def _square(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "s s 3"]:
    return np.asarray(Image.fromarray(pixels).resize((_SIDE, _SIDE)))


def _close_up(
    pixels: UInt8[np.ndarray, "h w 3"], at: tuple[int, int], size: tuple[int, int]
) -> UInt8[np.ndarray, "s s 3"]:
    """Crop a square around a place, which is given at the model's size."""
    height, width = pixels.shape[:2]
    side = max(int(_CROP * min(height, width)), min(height, width, 16))
    row, column = at[0] * height // size[0], at[1] * width // size[1]
    top = min(max(row - side // 2, 0), height - side)
    left = min(max(column - side // 2, 0), width - side)
    return _square(np.ascontiguousarray(pixels[top : top + side, left : left + side]))
