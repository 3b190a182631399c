"""Maps of tiles put together: geometry against an engine whose map is known at every pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mambaad.data import strips
from mambaad.data.strips import ArrayStrips
from mambaad.data.tiling import Tiling
from mambaad.errors import ConfigError, RunError
from mambaad.inference.engine import Evidence, Observation
from mambaad.inspection.stream import Item, observe_one
from mambaad.inspection.tiles import (
    TiledEngine,
    choose_tiling,
    map_shape,
    profile,
    window_at_peak,
)

SIGMA = 4.0


class LocalEngine:
    """Its error is the red of each pixel in its fine map, half of green in its coarse one.

    With ``spoilt`` the margin of every image has an error of 9, as borders have in networks.
    """

    device, batch_size, reads_ahead, trained = "cpu", 3, 2, None

    def __init__(self, size: int, *, head: bool = False, spoilt: bool = False) -> None:
        self.size = (size, size)
        self.head, self.spoilt = head, spoilt
        self.seen = 0

    def observe(self, images: np.ndarray) -> list[Observation]:
        self.seen += len(images)
        return [self._observe(image) for image in images]

    def _observe(self, image: np.ndarray) -> Observation:
        scales = np.stack([image[..., 0] / 255, image[..., 1] / 510]).astype(np.float32)
        if self.spoilt:
            scales[:, :32] = scales[:, -32:] = scales[:, :, :32] = scales[:, :, -32:] = 9
        errors = ndimage.gaussian_filter(scales.mean(axis=0), SIGMA)
        head = (image[..., 2] / 255).astype(np.float32)
        return Observation(
            float(errors.max()),
            errors + head if self.head else errors,
            np.asarray([0.5, 0.25], np.float32),
            errors if self.head else None,
            Evidence(scales, (4, 8), SIGMA, np.zeros(3, np.float32)),
        )


def whole_of(engine: LocalEngine) -> Observation:
    """The observation of a whole image in which nothing is seen."""
    (found,) = engine.observe(np.zeros((1, *engine.size, 3), np.uint8))
    return found._replace(
        anomaly_map=found.anomaly_map * 0,
        error_map=None if found.error_map is None else found.error_map * 0,
    )


def in_cells(values: np.ndarray) -> np.ndarray:
    """Means of 4 x 4 pixels."""
    height, width = values.shape
    cells = values.reshape(height // 4, 4, width // 4, 4)
    return cells.mean(axis=(1, 3)).astype(np.float32)


@pytest.mark.parametrize("tiling", [Tiling(128, 64), Tiling(160, 64), Tiling(128, 32, 32)])
@pytest.mark.parametrize("shape", [(256, 352), (128, 320), (300, 250)])
def test_the_merged_map_is_that_of_the_whole_image(tiling: Tiling, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    engine = LocalEngine(tiling.size)
    found = TiledEngine(engine, tiling).with_tiles(whole_of(engine), ArrayStrips(pixels))
    assert found.anomaly_map.shape == map_shape(shape)
    rows, columns = (length // 4 for length in shape)  # whole cells
    expected = in_cells(
        (pixels[..., 0] / 255 + pixels[..., 1] / 510)[: 4 * rows, : 4 * columns] / 2
    )
    expected = ndimage.gaussian_filter(expected, SIGMA / 4)
    inner = slice(0, rows - 5), slice(0, columns - 5)  # beyond, mirrored pixels count
    assert np.abs(found.anomaly_map[inner] - expected[inner]).max() < 1e-5
    assert found.score == found.anomaly_map.max()
    assert found.distances.tolist() == [0.5, 0.25]
    assert found.evidence is None


def test_the_margin_of_tiles_is_dropped_where_there_is_a_neighbour() -> None:
    tiling, engine = Tiling(128, 64), LocalEngine(128, spoilt=True)
    pixels = np.zeros((256, 256, 3), np.uint8)
    found = TiledEngine(engine, tiling).with_tiles(whole_of(LocalEngine(128)), ArrayStrips(pixels))
    inner = found.anomaly_map[12:-12, 12:-12]  # 32 pixels of the image's own margin, and 16
    assert inner.max() == 0
    assert found.anomaly_map[0, 0] > 8


@pytest.mark.parametrize(("size", "stride"), [(128, 64), (512, 384), (512, 448), (256, 32)])
def test_weights_of_neighbours_add_up_to_one(size: int, stride: int) -> None:
    tiling = Tiling(size, stride)
    first = profile(tiling, is_first=True, is_last=False)
    second = profile(tiling, is_first=False, is_last=True)
    overlap = (size - stride) // 4
    total = first[-overlap:] + second[:overlap]
    assert np.abs(total - 1).max() < 1e-6
    assert (second[:8] == 0).all()
    assert first[0] == second[-1] == 1


def test_the_higher_of_whole_and_tiles_counts() -> None:
    tiling, engine = Tiling(128, 64), LocalEngine(128)
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[100:140, 100:140, 0] = 255
    small = TiledEngine(engine, tiling).with_tiles(whole_of(engine), ArrayStrips(pixels))
    whole = whole_of(engine)
    large = np.zeros((128, 128), np.float32)
    large[90:] = 3
    found = TiledEngine(engine, tiling, keep_evidence=True).with_tiles(
        whole._replace(anomaly_map=large), ArrayStrips(pixels)
    )
    assert found.score == 3
    assert found.anomaly_map[60, 10] == 3
    assert found.anomaly_map[30, 30] == small.anomaly_map[30, 30] > 0.4
    assert found.evidence is not None
    assert found.evidence.smoothing == SIGMA / 4
    assert found.evidence.scale_maps[:, 30, 30].tolist() == [1, 0]


def test_a_heads_part_is_added_to_the_map_but_not_to_the_score() -> None:
    tiling, engine = Tiling(128, 64), LocalEngine(128, head=True)
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[..., 2] = 51
    found = TiledEngine(engine, tiling).with_tiles(whole_of(engine), ArrayStrips(pixels))
    assert found.score == 0
    assert found.error_map is not None
    assert found.error_map.max() == 0
    assert np.abs(found.anomaly_map - 0.2).max() < 1e-6


def test_tiles_outside_the_region_are_not_looked_at_and_change_nothing_inside() -> None:
    tiling, engine = Tiling(128, 64), LocalEngine(128)
    pixels = np.random.default_rng(2).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    region = np.zeros((128, 128), dtype=bool)  # at another size than the map's
    region[:40, 60:90] = True
    tiled, whole = TiledEngine(engine, tiling), whole_of(engine)
    everywhere = tiled.with_tiles(whole, ArrayStrips(pixels))
    engine.seen = 0
    found = tiled.with_tiles(whole, ArrayStrips(pixels), region)
    assert 0 < engine.seen < len(tiling.places((512, 512))) / 2
    assert np.array_equal(found.anomaly_map[region], everywhere.anomaly_map[region])


def test_an_image_of_one_tile_is_seen_as_a_whole() -> None:
    engine = LocalEngine(128)
    pixels = np.random.default_rng(3).integers(0, 256, (128, 90, 3), dtype=np.uint8)
    plain = observe_one(engine, Item(pixels)).result[0]
    tiled = observe_one(TiledEngine(engine, Tiling(128, 64)), Item(pixels)).result[0]
    assert np.array_equal(plain.anomaly_map, tiled.anomaly_map)
    assert tiled.evidence is None


def test_the_stream_looks_at_the_tiles_of_large_images() -> None:
    engine = LocalEngine(128)
    pixels = np.zeros((256, 384, 3), np.uint8)
    pixels[8:16, 8:16, 0] = 255  # eight pixels
    observed = observe_one(TiledEngine(engine, Tiling(128, 64)), Item(pixels))
    observation, quality = observed.result
    assert observation.anomaly_map.shape == (64, 96)
    assert np.unravel_index(observation.anomaly_map.argmax(), (64, 96)) in [(2, 2), (3, 3)]
    assert (quality.height, quality.width) == (256, 384)


def test_the_place_to_explain_is_cut_out_around_the_peak() -> None:
    pixels = np.zeros((256, 384, 3), np.uint8)
    pixels[200:204, 300:304] = 255
    scored = np.zeros((64, 96), np.float32)
    scored[50, 75] = 1
    part, values = window_at_peak(pixels, scored, (128, 128))
    assert part.shape == (128, 128, 3)
    rows, columns = np.nonzero(values == 1)
    assert len(rows) == 16
    assert (part[rows, columns] == 255).all()


@pytest.mark.parametrize(
    ("made", "given", "expected"),
    [
        (None, None, None),
        ((128, 64), None, Tiling(128, 64)),
        ((128, 64), "off", None),
        (None, "128", Tiling(128, 64)),
        ((128, 64), "128:32", Tiling(128, 32)),
        (None, (128, 96), ConfigError),
        (None, "160", ConfigError),
    ],
)
def test_the_tiles_of_a_run(
    tmp_path: Path,
    made: tuple[int, int] | None,
    given: str | tuple[int, int] | None,
    expected: Tiling | type[Exception] | None,
) -> None:
    if isinstance(expected, type):
        with pytest.raises(expected, match="--tiles"):
            choose_tiling(tmp_path, (128, 128), made, given)
    else:
        assert choose_tiling(tmp_path, (128, 128), made, given) == expected


@pytest.mark.parametrize("given", ["off", "128:32"])
def test_a_bundle_refuses_other_tiles_than_its_own(tmp_path: Path, given: str) -> None:
    bundle = tmp_path / "a.mambaad"
    bundle.touch()
    assert choose_tiling(bundle, (128, 128), (128, 64), "128:64") == Tiling(128, 64)
    with pytest.raises(RunError, match=rf"made with 128:64, got {given}; omit it"):
        choose_tiling(bundle, (128, 128), (128, 64), given)


def test_a_file_that_is_read_by_strips_is_observed_as_one_that_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (300, 260, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    tiled = TiledEngine(LocalEngine(128), Tiling(128, 64))
    decoded = observe_one(tiled, Item(tmp_path / "a.png"))
    monkeypatch.setattr(strips, "STREAMED", 1000)
    monkeypatch.setattr(strips, "SHOWN", 150)
    read = observe_one(tiled, Item(tmp_path / "a.png"))
    assert read.pixels is not None
    assert read.pixels.shape == (150, 130, 3)
    (ours, quality), (theirs, expected) = read.result, decoded.result
    assert (quality.height, quality.width) == (expected.height, expected.width) == (300, 260)
    inner = slice(12, -12), slice(12, -12)  # the whole is resized in two steps, and shows less
    assert np.abs(ours.anomaly_map - theirs.anomaly_map)[inner].max() < 0.05
    assert ours.anomaly_map.shape == theirs.anomaly_map.shape


def test_a_file_that_is_damaged_further_down_is_an_image_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "STREAMED", 1000)
    path = tmp_path / "a.png"
    random = np.random.default_rng(5)
    Image.fromarray(random.integers(0, 256, (300, 260, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-20000])
    observed = observe_one(TiledEngine(LocalEngine(128), Tiling(128, 64)), Item(path))
    assert "a.png cannot be read as an image" in str(observed.error)
