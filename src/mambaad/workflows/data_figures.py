"""The figures that some data sets have of their own, beside the seven metrics of all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mambaad.data.mask_files import read_mask_file
from mambaad.data.masks import resize_mask_keeping
from mambaad.documents import read_json
from mambaad.errors import DataError
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.stream import Observed
from mambaad.metrics.names import At
from mambaad.metrics.protocols import image_metrics
from mambaad.metrics.saturated import SaturatedOverlap
from mambaad.types import Sample
from mambaad.workflows.large_figures import LargeFigures
from mambaad.workflows.pixel_pairs import map_at, small_regions

Values = dict[str, float | None]

LIMIT = 0.05
"""The false-positive rate up to which MVTec LOCO AD and MVTec AD 2 integrate."""


class DataFigures(Protocol):
    """Collects observed images, and computes a data set's own figures."""

    def add(self, image: Observed) -> None:
        """Add an image."""

    def values(self) -> dict[str, Values]:
        """Compute the figures of each class, in [0, 1]; None where undefined."""

    def notes(self) -> Iterator[str]:
        """Say, a line each, what a reader of the figures should know."""


def figures_for(layout: str, inspector: Inspector, root: Path, at: At) -> DataFigures | None:
    """Return what collects the figures of a layout's data set; None if it has none of its own.

    Data sets of large images that are seen in tiles have those of :class:`LargeFigures`.

    Args:
        layout: the name of the layout.
        inspector: of the model.
        root: the folder of the data set.
        at: where pixels are compared, see :func:`mambaad.evaluate`; whatever the protocol, no
            region of a mask is lost.
    """
    makers: dict[str, Callable[[], DataFigures]] = {
        "mvtec-loco": lambda: LocoFigures(root, at),
        "mvtec-ad-2": lambda: AD2Figures(_fail_thresholds(inspector), at),
        "real-iad": RealIADFigures,
    }
    if layout not in makers and inspector.tiling:
        return LargeFigures(inspector.tiling, _fail_thresholds(inspector))
    return makers[layout]() if layout in makers else None


def to_rows(values: dict[str, Values]) -> list[list[str]]:
    """Make a heading, a row per class and one of means, in per cent."""
    names = list(dict.fromkeys(name for c in values.values() for name in c))
    rows = [["class", *names]]
    for name, of_class in [*values.items(), ("mean", mean(values))]:
        shown = (of_class.get(figure) for figure in names)
        rows.append([name, *("-" if v is None else f"{100 * v:.1f}" for v in shown)])
    return rows


def mean(values: dict[str, Values]) -> Values:
    """Average each figure over the classes that have it."""
    names = dict.fromkeys(name for c in values.values() for name in c)
    known = {n: [v for c in values.values() if (v := c.get(n)) is not None] for n in names}
    return {name: float(np.mean(found)) if found else None for name, found in known.items()}


class LocoFigures:
    """MVTec LOCO AD: image AU-ROC and AU-sPRO up to 0.05, for either kind of anomaly.

    Both kinds are compared with the same good images; the mean is that of the two. A mask file is
    one region, whose value says in ``defects_config.json`` from how many pixels on it counts as
    found. Without that file, or for a value that it does not list, it is the whole region.

    Args:
        root: the folder of the data set.
        at: where pixels are compared, see :func:`mambaad.evaluate`. At the map's size a region and
            its saturation are scaled alike.
    """

    _KINDS = ("logical", "structural")

    def __init__(self, root: Path, at: At = "map") -> None:
        self._root = root
        self._at: At = at
        self._lost: dict[str, _Lost] = {}
        self._unlisted: dict[str, list[Path]] = {}
        self._scores: dict[str, list[tuple[str, float]]] = {}
        self._overlaps: dict[str, dict[str, SaturatedOverlap]] = {}
        self._saturations: dict[Path, dict[int, tuple[float, bool]]] = {}

    def add(self, image: Observed) -> None:
        """Add an image."""
        sample, (observation, _) = _sample(image), image.result
        kind = sample.defect_type.removesuffix("_anomalies")
        self._scores.setdefault(sample.class_name, []).append((kind, observation.score))
        overlaps = self._overlaps.setdefault(
            sample.class_name, {name: SaturatedOverlap() for name in self._KINDS}
        )
        found = map_at(image, observation.anomaly_map, self._at)
        lost = self._lost.setdefault(sample.class_name, _Lost(found.shape))
        regions = []
        for path in sample.files[1:]:
            mask = read_mask_file(path, sample.reading.max_pixels)
            area = int(mask.marked.sum())
            if not area:
                continue
            value, relative = self._saturation(sample, path, mask.value)
            saturation = max(1.0, int(value * area)) if relative else min(value, area)
            small, gone = resize_mask_keeping(mask.marked, *found.shape)
            lost.add(gone, sample.path)
            regions.append((small, saturation * float(small.sum()) / area))
        for name, overlap in overlaps.items():
            if kind in ("good", name):
                overlap.add(found, regions)

    def values(self) -> dict[str, Values]:
        """Compute the figures of each class."""
        found: dict[str, Values] = {}
        for name, scores in self._scores.items():
            of_class: Values = {}
            for kind in self._KINDS:
                some = [(score, k == kind) for k, score in scores if k in ("good", kind)]
                of_class[f"I-AUROC {kind}"] = _auroc(some)
            of_class["I-AUROC mean"] = _mean_of_both(of_class, "I-AUROC", self._KINDS)
            for kind, overlap in self._overlaps[name].items():
                of_class[f"AU-sPRO {kind}"] = overlap.area(LIMIT)
            of_class["AU-sPRO mean"] = _mean_of_both(of_class, "AU-sPRO", self._KINDS)
            found[name] = of_class
        return found

    def notes(self) -> Iterator[str]:
        """Say which regions were given a pixel, and which have no saturation threshold."""
        for name, lost in self._lost.items():
            yield from lost.notes(name)
        for name, paths in self._unlisted.items():
            yield (
                f"{name}: {len(paths)} regions have no saturation threshold in defects_config.json "
                f"({paths[0]} the first), so all of their pixels have to be found"
            )

    def _saturation(self, sample: Sample, path: Path, value: float) -> tuple[float, bool]:
        """Return the saturation threshold of a mask's file, see :func:`read_saturations`."""
        folder = self._root / sample.path.relative_to(self._root).parts[0]
        config = folder / "defects_config.json"
        if config not in self._saturations:
            self._saturations[config] = read_saturations(config) if config.is_file() else {}
        if value not in self._saturations[config]:
            self._unlisted.setdefault(sample.class_name, []).append(path)
        return self._saturations[config].get(int(value), (1.0, True))


def read_saturations(path: Path) -> dict[int, tuple[float, bool]]:
    """Read MVTec LOCO AD's ``defects_config.json``: a mask's value, to its saturation threshold.

    The threshold is in pixels; or, if the second value is True, a share of the region's area.

    Raises:
        DataError: another file.
    """
    try:
        return {
            int(kind["pixel_value"]): (
                float(kind["saturation_threshold"]),
                bool(kind["relative_saturation"]),
            )
            for kind in read_json(path)
        }
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} does not list kinds of defects ({error}); unpack the data set again"
        ) from error


class AD2Figures:
    """MVTec AD 2: AU-PRO up to 0.05, and the pixels' F1 at the threshold of FAIL.

    Args:
        thresholds: of the classes that are calibrated. (The data set's server takes segmentations
            by a threshold that was chosen without the test images, as these are.)
        at: where pixels are compared, see :func:`mambaad.evaluate`.
    """

    def __init__(self, thresholds: dict[str, float], at: At = "map") -> None:
        self._thresholds = thresholds
        self._at: At = at
        self._lost: dict[str, _Lost] = {}
        self._overlaps: dict[str, SaturatedOverlap] = {}
        self._counts: dict[str, np.ndarray] = {}

    def add(self, image: Observed) -> None:
        """Add an image."""
        from scipy.ndimage import label  # half a second

        sample, (observation, _) = _sample(image), image.result
        found, name = map_at(image, observation.anomaly_map, self._at), sample.class_name
        mask = np.zeros(found.shape, dtype=bool)
        lost = self._lost.setdefault(name, _Lost(found.shape))
        if image.mask is not None:
            mask, gone = resize_mask_keeping(image.mask, *found.shape)
            lost.add(gone, sample.path)
        regions, count = label(mask, np.ones((3, 3)))
        parts = [regions == number for number in range(1, count + 1)]
        overlap = self._overlaps.setdefault(name, SaturatedOverlap())
        overlap.add(found, [(part, float(part.sum())) for part in parts])
        if name in self._thresholds:
            above = found > self._thresholds[name]
            hits = np.array([(above & mask).sum(), above.sum() + mask.sum()])
            self._counts[name] = self._counts.get(name, np.zeros(2, np.int64)) + hits

    def values(self) -> dict[str, Values]:
        """Compute the figures of each class."""
        found: dict[str, Values] = {}
        for name, overlap in self._overlaps.items():
            both, total = self._counts.get(name, (0, 0))
            f1 = float(2 * both / total) if total else None
            found[name] = {"AU-PRO 0.05": overlap.area(LIMIT), "seg F1": f1}
        return found

    def notes(self) -> Iterator[str]:
        """Say which regions were given a pixel."""
        for name, lost in self._lost.items():
            yield from lost.notes(name)


class RealIADFigures:
    """Real-IAD: image AU-ROC of each view, and of parts, any of whose five views may be defective.

    A part's score is the highest of its views'; it is defective if any view is.
    """

    def __init__(self) -> None:
        self._views: dict[str, dict[str, list[tuple[float, bool]]]] = {}
        self._parts: dict[str, dict[Path, list[tuple[float, bool]]]] = {}

    def add(self, image: Observed) -> None:
        """Add an image."""
        sample, (observation, _) = _sample(image), image.result
        entry = (observation.score, sample.is_defective)
        view = re.search(r"_(C\d)_", sample.path.name)
        views = self._views.setdefault(sample.class_name, {})
        views.setdefault(view.group(1) if view else "?", []).append(entry)
        # A part has a folder of its own: <class>/NG/<type>/S0001.
        parts = self._parts.setdefault(sample.class_name, {})
        parts.setdefault(sample.path.parent, []).append(entry)

    def values(self) -> dict[str, Values]:
        """Compute the figures of each class."""
        found: dict[str, Values] = {}
        for name, views in self._views.items():
            of_class = {f"I-AUROC {view}": _auroc(views[view]) for view in sorted(views)}
            known = [value for value in of_class.values() if value is not None]
            of_class["views' mean"] = float(np.mean(known)) if known else None
            parts = [
                (max(score for score, _ in of), any(defective for _, defective in of))
                for of in self._parts[name].values()
            ]
            of_class["S-AUROC"] = _auroc(parts)
            found[name] = of_class
        return found

    def notes(self) -> Iterator[str]:
        """Say nothing: there are no pixels in these figures."""
        yield from ()


@dataclass
class _Lost:
    """The regions of a class's masks that had no pixel left at a size, and were given one."""

    size: tuple[int, ...]
    regions: int = 0
    first: Path | None = None

    def add(self, regions: int, image: Path) -> None:
        """Count those of an image."""
        self.regions += regions
        if regions and self.first is None:
            self.first = image

    def notes(self, name: str) -> Iterator[str]:
        """Say so, if there are any."""
        if self.regions:
            height, width = self.size
            yield small_regions(name, self.regions, self.first, (height, width))


def _sample(image: Observed) -> Sample:
    assert image.item.sample is not None  # evaluation takes data sets only
    return image.item.sample


def _auroc(scores: Sequence[tuple[float, bool]]) -> float | None:
    return image_metrics([s for s, _ in scores], [label for _, label in scores])["image_auroc"]


def _mean_of_both(values: Values, figure: str, kinds: Sequence[str]) -> float | None:
    known = [v for kind in kinds if (v := values[f"{figure} {kind}"]) is not None]
    return float(np.mean(known)) if len(known) == len(kinds) else None


def _fail_thresholds(inspector: Inspector) -> dict[str, float]:
    if inspector.calibration is None:
        return {}
    return {name: c.fail.value for name, c in inspector.calibration.classes.items()}
