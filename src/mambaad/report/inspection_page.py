"""The report of an inspection: a page with every image, and why flagged parts were flagged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mambaad.artifacts.bundle import opened
from mambaad.artifacts.run_folder import load_model
from mambaad.data.images import read_image
from mambaad.data.layouts import read_data
from mambaad.errors import RunError
from mambaad.files import write_text, written_whole
from mambaad.inference.explain import Explainer, Explanation, GoodMatch, GoodPartsIndex
from mambaad.inspection.calibration import inspected_map
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.records import Record
from mambaad.report.inspection_html import PICTURES, Card, ClassSummary, Gallery, gallery_page
from mambaad.report.overlay import draw_outlines, heatmap_overlay
from mambaad.types import Prediction, Sample, Verdict

PAGE = "index.html"
_SIDE = 256  # of each picture, in pixels
_CROP = 0.25  # of the image's smaller side: the places of a part that are compared
_CARRIES = 0.005  # of the score: less is no direction's own
MOST_EXPLAINED = 50
"""Flagged parts of a class that are explained: each costs up to nine runs of the decoder."""


class InspectionReport:
    """Collects inspected images and writes ``index.html``, with its pictures beside it.

    Args:
        folder: to write to.
        source: the run or bundle that inspects.
        inspector: made of it.
        good: a data set whose good training parts flagged parts are compared with; None for none.

    Raises:
        RunError: a folder that cannot be made, or with a page that cannot be removed.
        DataError: a data set that cannot be read.
    """

    def __init__(
        self, folder: Path, source: Path, inspector: Inspector, good: Path | None = None
    ) -> None:
        self._folder = folder
        self._inspector = inspector
        try:
            (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"--report: {folder} cannot be made ({error.strerror}); choose another folder"
            ) from error
        with opened(source) as run:
            model = load_model(run)
        self._explainer = Explainer(model, inspector.size)
        parts: dict[str, Sequence[Sample]] = {}
        if good is not None:
            classes = read_data(good, layout=inspector.config.layout)
            parts = {c.name: c.train for c in classes if c.name in inspector.products}
        self._index = GoodPartsIndex(model, inspector.size, parts)
        self._cards: list[Card] = []
        self._records: list[Record] = []
        self._flagged = Counter[str]()
        try:  # never an earlier page beside these pictures
            (folder / PAGE).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(
                f"--report: {folder / PAGE} cannot be replaced ({error.strerror}); choose another "
                "folder"
            ) from error

    def add(
        self,
        record: Record,
        pixels: UInt8[np.ndarray, "h w 3"] | None,
        prediction: Prediction | None,
    ) -> None:
        """Add an image; without pixels and prediction, one that could not be read.

        A picture that cannot be written, or an explanation that fails, is a note on its card: the
        inspection is worth more than its page.
        """
        number = len(self._cards) + 1
        picture = explained = None
        explanation: list[str] = []
        level = None
        if pixels is not None and prediction is not None:
            picture = f"{PICTURES}/{number:06}.jpg"
            try:
                self._save(picture, self._pair(pixels, prediction))
            except (RunError, OSError) as error:
                picture = None
                explanation.append(f"There is no picture: {error}")
            level = self._level(prediction)
            if prediction.regions:
                why = f"{PICTURES}/{number:06}.why.jpg"
                explained, sentences = self._explained(pixels, prediction, why)
                explanation += sentences
        verdict = record.verdict.value if record.verdict else "ERROR" if record.error else ""
        self._records.append(record)
        self._cards.append(
            Card(
                record.path,
                record.product or "",
                verdict,
                record.score,
                level,
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
        """Write the page of all images so far; returns its path."""
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
            {"By class": self._table(), **(tables or {})},
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
            some = [r for r in self._records if name is None or (r.product or "") == name]
            counts = Counter(r.verdict.value for r in some if r.verdict)
            errors = sum(r.error is not None for r in some)
            label = "all" if name is None else name or "none known"
            numbers = [len(some), *(counts[v] for v in verdicts), errors]
            rows.append([label, *map(str, numbers)])
        return rows

    def _level(self, prediction: Prediction) -> float:
        """The score, such that good parts' median is 0 and FAIL begins at 1."""
        low, high = prediction.scale or self._inspector.scale
        return (prediction.score - low) / ((high - low) / 2)

    def _pair(
        self, pixels: UInt8[np.ndarray, "h w 3"], prediction: Prediction
    ) -> UInt8[np.ndarray, "h2 w2 3"]:
        scale = prediction.scale or self._inspector.scale
        small = _fitted(pixels, _SIDE)
        overlay = heatmap_overlay(small, prediction.anomaly_map, scale)
        if prediction.region_mask is not None:
            overlay = draw_outlines(overlay, prediction.region_mask)
        return np.concatenate([small, overlay], axis=1)

    def _explained(
        self, pixels: UInt8[np.ndarray, "h w 3"], prediction: Prediction, target: str
    ) -> tuple[str | None, list[str]]:
        """The name of the picture that explains, if there is one, and sentences."""
        product = prediction.product or ""
        self._flagged[product] += 1
        if self._flagged[product] > MOST_EXPLAINED:
            return None, [
                f"Only the first {MOST_EXPLAINED} flagged parts of a class are explained."
            ]
        try:
            return target, self._explain(pixels, prediction, target)
        except Exception as error:  # whatever it is, the part's verdict does not hang on it
            reason = " ".join(str(error).split()) or type(error).__name__
            return None, [f"There is no explanation: {reason}"]

    def _explain(
        self, pixels: UInt8[np.ndarray, "h w 3"], prediction: Prediction, target: str
    ) -> list[str]:
        """Write a picture of the scales' maps and the good part's place; and say it in words."""
        calibration = self._inspector.calibration
        c = calibration.classes[prediction.product or ""] if calibration else None
        counted = inspected_map(prediction.anomaly_map, c.settings) if c else None
        found = self._explainer.explain(pixels, counted)
        match = self._index.nearest(prediction.product or "", pixels, found.at)
        scale = prediction.scale or self._inspector.scale
        count = len(found.scale_maps)
        share = (scale[0] / count, scale[1] / count)  # of a scale's part of the map
        tiles = [heatmap_overlay(_square(pixels), part, share) for part in found.scale_maps]
        size = self._inspector.size
        tiles.append(_place(pixels, found.at, size))
        if match:
            tiles.append(_place(read_image(match.sample.path), match.at, size))
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
            f"The scan that carried most of it: {name} (without it {most:.0%} less, beyond what "
            "the rest of the image changes)."
            if most >= _CARRIES
            else "No single scan direction carried it: without any of them it stays."
        )
    scales = len(found.strides)
    maps = f"the maps of the {scales} scales" if scales > 1 else "the map"
    shown = f"Pictures: {maps}, the place"
    if match:
        lines.append(
            f"{shown}, and the place most like it in a good part, {match.sample.path.name} "
            f"(similarity {match.similarity:.2f})."
        )
    else:
        lines.append(f"{shown}.")
    return lines


def _shares(found: Explanation) -> str:
    if len(found.strides) == 1:
        return f"The encoder's maps are compared as one, at stride {found.strides[0]}."
    names = [str(stride) for stride in found.strides]
    names[0], names[-1] = f"{names[0]} (fine)", f"{names[-1]} (coarse)"
    shares = ", ".join(
        f"{share:.0%} at stride {name}"
        for share, name in zip(found.scale_shares, names, strict=True)
    )
    return f"Of the score there {shares} of the encoder's maps."


def _fitted(pixels: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """At most ``side`` pixels high and wide."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return np.asarray(image)


def _square(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "s s 3"]:
    return np.asarray(Image.fromarray(pixels).resize((_SIDE, _SIDE)))


def _place(
    pixels: UInt8[np.ndarray, "h w 3"], at: tuple[int, int], size: tuple[int, int]
) -> UInt8[np.ndarray, "s s 3"]:
    """A square around a place that is given at the model's size."""
    height, width = pixels.shape[:2]
    side = max(int(_CROP * min(height, width)), min(height, width, 16))
    row, column = at[0] * height // size[0], at[1] * width // size[1]
    top = min(max(row - side // 2, 0), height - side)
    left = min(max(column - side // 2, 0), width - side)
    return _square(np.ascontiguousarray(pixels[top : top + side, left : left + side]))
