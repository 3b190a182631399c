"""The explanation of a flagged part on a page: pictures, and sentences for who wants details."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from mambaad.data.images import read_sample_image
from mambaad.errors import DataError
from mambaad.inference.explain import Explainer, Explanation, ReferenceParts
from mambaad.inspection.calibration import inspected_map
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.overlay import heatmap_overlay
from mambaad.inspection.prediction import Prediction
from mambaad.inspection.tiles import map_shape, window_at_peak
from mambaad.types import Sample

_SIDE = 256  # of each tile, in pixels
_CROP = 0.25  # side of a close-up, as a share of the image's smaller side
_MIN_CONTRIBUTION = 0.005  # share of the score that a scan direction is named for


@dataclass
class Explained:
    """An explanation as a card shows it.

    ``lines``: sentences. ``near`` and ``scales``: addresses of pictures, "" for none: a close-up
    of the peak, beside the same on a good part if there is one; and the heatmap of each scale.
    """

    lines: list[str]
    near: str = ""
    near_words: str = ""
    scales: str = ""
    scales_words: str = ""


class Explaining:
    """Explains flagged parts, so many of each class.

    Args:
        inspector: it can explain if it keeps the model as trained.
        good: good parts of each class to compare with; may be empty.
        most: parts of a class that are explained.
        save: writes a picture under a name, and returns its address.
    """

    def __init__(
        self,
        inspector: Inspector,
        good: Mapping[str, Sequence[Sample]],
        most: int,
        save: Callable[[str, UInt8[np.ndarray, "h w 3"]], str],
    ) -> None:
        trained = inspector.engine.trained
        self._inspector = inspector
        self._explainer = Explainer(trained, inspector.size) if trained else None
        self._references = ReferenceParts(trained, inspector.size, good) if trained else None
        self._most = most
        self._save = save
        self._flagged = Counter[str]()

    @property
    def left_some_out(self) -> bool:
        """Whether parts of a class were not explained, since there were too many."""
        return any(count > self._most for count in self._flagged.values())

    def explain(
        self,
        name: str,
        pixels: UInt8[np.ndarray, "h w 3"],
        prediction: Prediction,
        scored_map: Float[np.ndarray, "h2 w2"],
    ) -> Explained:
        """Explain a flagged part, or say why it is not explained; never raises.

        Args:
            name: of the part's pictures.
            pixels: of the part.
            prediction: with a region or more.
            scored_map: the map that its score is taken from.
        """
        if self._explainer is None:
            return Explained(["No explanation is available: the model as trained was not kept."])
        product = prediction.product or ""
        self._flagged[product] += 1
        if self._flagged[product] > self._most:
            return Explained(
                [f"Only the first {self._most} flagged parts of a class are explained."]
            )
        try:
            return self._explain(self._explainer, name, pixels, prediction, scored_map)
        except Exception as error:  # the verdict stands, whatever fails in explaining it
            reason = " ".join(str(error).split()) or type(error).__name__
            return Explained([f"No explanation is available: {reason}"])

    def _explain(
        self,
        explainer: Explainer,
        name: str,
        pixels: UInt8[np.ndarray, "h w 3"],
        prediction: Prediction,
        scored_map: Float[np.ndarray, "h2 w2"],
    ) -> Explained:
        calibration = self._inspector.calibration
        c = calibration.classes[prediction.product or ""] if calibration else None
        inspected = inspected_map(scored_map, c.settings) if c else None
        tiling, references = self._inspector.tiling, self._references
        if tiling and tiling.splits(pixels.shape[:2]):
            if map_shape(pixels.shape[:2]) != scored_map.shape:
                raise DataError("the image is larger than what is kept of it")
            searched = scored_map if inspected is None else inspected
            pixels, inspected = window_at_peak(pixels, searched, self._inspector.size)
            references = None  # they are known as a whole, and this is a tile
        found = explainer.explain(pixels, inspected)
        match = None
        if references:
            match = references.nearest(prediction.product or "", pixels, found.at)
        size = self._inspector.size
        tiles = [close_up(pixels, found.at, size)]
        words = "The place"
        if match:
            tiles.append(close_up(read_sample_image(match.sample), match.at, size))
            words += (
                f", and the most similar place on a good part, {match.sample.path.name} "
                f"(similarity {match.similarity:.2f})"
            )
        near = self._save(f"{name}.near.jpg", np.concatenate(tiles, axis=1))
        scales = ""
        if len(found.strides) > 1:
            scales = self._save(f"{name}.scales.jpg", self._scales(pixels, found, prediction))
        lines = sentences(found, prediction)
        names = " | ".join(scale_names(found.strides))
        return Explained(lines, near, f"{words}.", scales, f"Heatmaps {names}.")

    def _scales(
        self, pixels: UInt8[np.ndarray, "h w 3"], found: Explanation, prediction: Prediction
    ) -> UInt8[np.ndarray, "h2 w2 3"]:
        low, high = self._inspector.range_of(prediction)
        count = len(found.scale_maps)  # the scales' maps add up to the whole
        bounds = low / count, high / count
        tiles = [heatmap_overlay(_square(pixels), of_one, bounds) for of_one in found.scale_maps]
        return np.concatenate(tiles, axis=1)


def sentences(found: Explanation, prediction: Prediction) -> list[str]:
    """Say what contributed to a score: the encoder's maps, and the scan directions."""
    lines = [prediction.reason + "."] if prediction.reason else []
    lines.append(_shares(found))
    if found.directions:
        name, most = max(found.directions.items(), key=lambda item: item[1])
        lines.append(
            f"Scan direction that contributes most: {name} (without it the score there falls by "
            f"{most:.0%} more than in the rest of the image)."
            if most >= _MIN_CONTRIBUTION
            else "No single scan direction contributes: omitting any one hardly changes the score."
        )
    return lines


def scale_names(strides: Sequence[int]) -> list[str]:
    """Name the maps of the encoder, the first and the last with what they see."""
    if len(set(strides)) == 1:  # of groups of blocks
        names = [f"by map {i + 1}" for i in range(len(strides))]
        ends = ("early blocks", "late blocks")
    else:
        names = [f"at stride {stride}" for stride in strides]
        ends = ("fine", "coarse")
    names[0], names[-1] = f"{names[0]} ({ends[0]})", f"{names[-1]} ({ends[1]})"
    return names


def _shares(found: Explanation) -> str:
    if len(found.strides) == 1:
        return f"The encoder's maps are compared as one, at stride {found.strides[0]}."
    shares = ", ".join(
        f"{share:.0%} {name}"
        for share, name in zip(found.scale_shares, scale_names(found.strides), strict=True)
    )
    return f"Contributions of the encoder's maps to the score: {shares}."


def close_up(
    pixels: UInt8[np.ndarray, "h w 3"], at: tuple[int, int], size: tuple[int, int]
) -> UInt8[np.ndarray, "s s 3"]:
    """Crop a square around a place, which is given at the model's size."""
    height, width = pixels.shape[:2]
    side = max(int(_CROP * min(height, width)), min(height, width, 16))
    row, column = at[0] * height // size[0], at[1] * width // size[1]
    top = min(max(row - side // 2, 0), height - side)
    left = min(max(column - side // 2, 0), width - side)
    return _square(np.ascontiguousarray(pixels[top : top + side, left : left + side]))


def _square(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "s s 3"]:
    return np.asarray(Image.fromarray(pixels).resize((_SIDE, _SIDE)))
