"""The report of a run on a data set: metrics, scores, and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mambaad.config import TrainConfig
from mambaad.files import write_text
from mambaad.inspection.overlay import heatmap_overlay
from mambaad.inspection.stream import Observed
from mambaad.recipes import SYSTEMS
from mambaad.report.run_rendering import Example, Report, Scores, html_report

_GOOD, _DEFECTIVE = 2, 7  # examples of each class


class RunPage:
    """Collects examples while a run is evaluated, and writes the page.

    The examples are the first good parts and the first part of each defect type; they are never
    chosen by their scores.

    Args:
        heatmap_range: the map's values at both ends of all heatmaps.
    """

    def __init__(self, heatmap_range: tuple[float, float]) -> None:
        self._range = heatmap_range
        self._good: dict[str, list[Example]] = {}
        self._defective: dict[str, dict[str, Example]] = {}

    def add(self, observed: Observed) -> None:
        """Add a test image; it becomes an example if one of its kind is still missing."""
        sample, pixels = observed.item.sample, observed.pixels
        if sample is None or pixels is None or observed.observation is None:
            return
        good = self._good.setdefault(sample.class_name, [])
        defective = self._defective.setdefault(sample.class_name, {})
        if not sample.is_defective and len(good) < _GOOD:
            good.append(self._example(observed))
        defect = sample.defect_type
        if sample.is_defective and defect not in defective and len(defective) < _DEFECTIVE:
            defective[defect] = self._example(observed)

    def _example(self, observed: Observed) -> Example:
        sample, pixels = observed.item.sample, observed.pixels
        assert sample is not None  # checked by add()
        assert pixels is not None
        observation, _ = observed.result
        return Example(
            f"{sample.defect_type}/{sample.path.name}",
            pixels,
            heatmap_overlay(pixels, observation.anomaly_map, self._range),
            observed.mask,
            sample.is_defective,
            observation.score,
        )

    def write(
        self,
        path: Path,
        title: str,
        config: TrainConfig,
        log: Sequence[Mapping[str, Any]],
        protocol: str,
        metrics: Sequence[Sequence[str]],
        scores: Mapping[str, Sequence[tuple[float, bool]]],
    ) -> None:
        """Write the page, whole or not at all.

        Args:
            path: the HTML file.
            title: heading of the page.
            config: the settings of the run.
            log: a record for each epoch of its training; empty for an imported run.
            protocol: name of the metrics' protocol, and where pixels are compared.
            metrics: a header row and a row for each class, as text.
            scores: by class, each test image's score and whether it is defective.

        Raises:
            RunError: the file cannot be written.
        """
        minutes = sum(epoch["seconds"] for epoch in log) / 60
        facts = {
            "Products": ", ".join(scores),
            "Test images": str(sum(map(len, scores.values()))),
            "Model": f"{_model_name(config)}, encoder {config.encoder}",
            "Training": f"{len(log)} epochs, {minutes:.1f} min" if log else "imported",
            **({"Left out": f"{len(config.exclude)} training images"} if config.exclude else {}),
            "Image size": " x ".join(map(str, config.size)),
            "Protocol": protocol,
        }
        report = Report(
            title,
            facts,
            metrics,
            [epoch["loss"] for epoch in log],
            {
                name: Scores([s for s, bad in pairs if not bad], [s for s, bad in pairs if bad])
                for name, pairs in scores.items()
            },
            {
                name: [*self._good.get(name, []), *self._defective.get(name, {}).values()]
                for name in scores
            },
        )
        write_text(path, html_report(report))


def _model_name(config: TrainConfig) -> str:
    name = SYSTEMS[config.system].title
    return f"{name}, {config.variant} decoder" if config.system == "mambaad" else name
