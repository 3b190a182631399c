"""The result of an inspection: what it says, and how it is drawn and saved."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from mambaad.errors import ConfigError
from mambaad.files import written_whole
from mambaad.types import Region, Verdict

if TYPE_CHECKING:  # it takes half a second
    from matplotlib.figure import Figure

_MOST_SHOWN = 1024
"""The longer side, in pixels, of a picture that is shown and not saved."""


class Origin(NamedTuple):
    """What an image was, that its prediction can be drawn and written.

    ``image``: 8-bit RGB, as it was read. ``record``: its record (:mod:`mambaad.inspection.records`)
    as JSON has it. ``heatmap_range``: the map's values at both ends of the colours.
    """

    image: UInt8[np.ndarray, "h w 3"]
    record: Mapping[str, Any]
    heatmap_range: tuple[float, float]


@dataclass(frozen=True, repr=False)
class Prediction:
    """The model's result for one image, with a verdict if its product is calibrated.

    ``score``: the maximum over the inspected area of the anomaly map without a residual head's
    part; without a calibration the system's own image score, which differs from it for UniAD. The
    higher, the more anomalous.
    ``anomaly_map``: float32, at the model's size, about 0 where the image looks like a good part.
    ``product``: as given, or the one that the image resembles most; None if no product is known.
    ``product_margin``: the confidence in a product that was not given, from 0 (another is as near
    or nearer) to 1.

    From the calibration of the product, and None (or empty) without one:
    ``verdict``, and ``reason``, which explains it in words. ``percentile``: the share of good parts
    that score lower, 0 to 100. ``p_value``: the probability that a good part scores as high.
    ``heatmap_range``: the map's values at both ends of the product's heatmaps; the middle is the
    threshold of FAIL. ``regions``: the places that look defective, worst first; empty for a PASS.
    ``region_mask``: True inside them, of the map's size. ``quality``: see
    :class:`mambaad.inspection.quality.Quality`.
    """

    score: float
    anomaly_map: Float[np.ndarray, "h w"]
    product: str | None = None
    product_margin: float | None = None
    verdict: Verdict | None = None
    reason: str = ""
    percentile: float | None = None
    p_value: float | None = None
    heatmap_range: tuple[float, float] | None = None
    regions: tuple[Region, ...] = ()
    region_mask: Bool[np.ndarray, "h w"] | None = None
    quality: Mapping[str, float] | None = None
    _origin: Origin | None = None

    def __repr__(self) -> str:
        parts = [f"score={self.score:.4g}"]
        parts += [f"product={self.product!r}"] if self.product is not None else []
        if self.verdict is not None:
            parts += [f"verdict={self.verdict.value!r}", f"regions={len(self.regions)}"]
        height, width = self.anomaly_map.shape
        return f"Prediction({', '.join(parts)}, anomaly_map={height}x{width})"

    @property
    def image(self) -> UInt8[np.ndarray, "h w 3"] | None:
        """The image as it was read, 8-bit RGB; None of a prediction that no inspector made.

        A prediction holds its image. Of very many, keep :meth:`to_dict` or the score.
        """
        return self._origin.image if self._origin else None

    def to_dict(self) -> dict[str, Any]:
        """The record of the image, as a line of ``predictions.jsonl`` has it.

        See ``docs/verdicts.md`` for its fields; ``path`` is empty for an image that came from no
        file. It has no arrays, so that it can be written as JSON.
        """
        return json.loads(json.dumps(self._drawn_from().record))  # type: ignore[no-any-return]

    def draw(self) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the heatmap over the image, with the regions outlined, as 8-bit RGB.

        Where the anomaly map is low, the image shows unchanged. The colours mean the same for all
        images of a class.
        """
        return self._overlaid(self._drawn_from().image)

    def save(self, path: str | Path) -> Path:
        """Save what the suffix of a path says, whole or not at all; returns the path.

        ``.png``, ``.jpg``, ``.jpeg``: the picture of :meth:`draw`. ``.json``: the record of
        :meth:`to_dict`. ``.npy``, ``.tiff``, ``.tif``: the anomaly map, float32, at the model's
        size.

        Raises:
            ConfigError: another suffix.
            RunError: it cannot be written.
        """
        path = Path(path)
        write = _WRITERS.get(path.suffix.lower())
        if write is None:
            raise ConfigError(
                f"{path} ends in '{path.suffix}', expected .png or .jpg for a picture, .json for "
                "the record, .npy or .tiff for the anomaly map; choose one of them"
            )
        content = write(self)
        with written_whole(path) as temporary:
            temporary.write_bytes(content)
        return path

    def plot(self) -> Figure:
        """Plot the image beside its heatmap, with a colour bar, by matplotlib.

        Where a program shows figures in windows by ``matplotlib.pyplot``, ``show()`` shows this one
        too. In notebooks it is shown as a cell's last value, as is the prediction itself.
        """
        origin = self._drawn_from()
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        image = _smaller(origin.image)
        figure = _new_figure()
        left, right = figure.subplots(1, 2)
        left.imshow(image)
        right.imshow(self._overlaid(image))
        for axes in (left, right):
            axes.set_axis_off()
        colours = ScalarMappable(Normalize(*origin.heatmap_range), "inferno")
        figure.colorbar(colours, ax=right, label="anomaly map", fraction=0.046)
        what = [self.product or "no known product", f"score {self.score:.4g}"]
        what[:0] = [self.verdict.value] if self.verdict else []
        figure.suptitle(", ".join(what) + (f"\n{self.reason}" if self.reason else ""), fontsize=10)
        return figure

    def _repr_png_(self) -> bytes | None:
        """The picture that a notebook shows."""
        if self._origin is None:
            return None
        return _encoded(self._overlaid(_smaller(self._origin.image)), "PNG")

    def _overlaid(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        from mambaad.inspection.overlay import draw_outlines, heatmap_overlay

        overlay = heatmap_overlay(image, self.anomaly_map, self._drawn_from().heatmap_range)
        if self.region_mask is None:
            return overlay
        return draw_outlines(overlay, self.region_mask)

    def _drawn_from(self) -> Origin:
        if self._origin is None:
            raise ConfigError(
                "the prediction has no image and no record, as those of Inspector.inspect have; "
                "inspect the image again"
            )
        return self._origin


def _new_figure() -> Figure:
    """Make a figure, which pyplot knows where it shows windows."""
    from matplotlib import backends, get_backend

    size: Any = {"figsize": (9, 4.5), "layout": "constrained"}
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    known: Any = backends
    windows = known.backend_registry.list_builtin(known.BackendFilter.INTERACTIVE)
    if pyplot and get_backend().lower() in windows:
        figure: Figure = pyplot.figure(**size)
        return figure
    from matplotlib import figure as figures

    class Shown(figures.Figure):
        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png")
            return file.getvalue()

    return Shown(**size)


def _smaller(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    height, width = image.shape[:2]
    shrink = min(_MOST_SHOWN / max(height, width), 1)
    size = max(round(shrink * width), 1), max(round(shrink * height), 1)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _encoded(pixels: np.ndarray, form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


_WRITERS: dict[str, Callable[[Prediction], bytes]] = {
    ".png": lambda prediction: _encoded(prediction.draw(), "PNG"),
    ".jpg": lambda prediction: _encoded(prediction.draw(), "JPEG"),
    ".jpeg": lambda prediction: _encoded(prediction.draw(), "JPEG"),
    ".json": lambda prediction: (json.dumps(prediction.to_dict(), indent=2) + "\n").encode(),
    ".npy": lambda prediction: _npy(prediction.anomaly_map),
    ".tif": lambda prediction: _encoded(prediction.anomaly_map, "TIFF"),
    ".tiff": lambda prediction: _encoded(prediction.anomaly_map, "TIFF"),
}
