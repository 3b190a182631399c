"""What an evaluation must say beside its figures, or refuse to measure."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

import mambaad
from mambaad.cli.tables import further_table, metrics_table
from mambaad.data.images import read_image
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.errors import ConfigError, DataError
from mambaad.types import ProductClass
from mambaad.workflows.evaluate import evaluate_engine
from tests.conftest import make_parts
from tests.data.drawn_files import exif


@pytest.fixture
def nut(tmp_path: Path) -> Path:
    """The folder of one class, ``nut``, which may be changed."""
    return make_parts(tmp_path / "parts", classes=("nut",)) / "nut"


def mask_of(nut: Path, number: int) -> Path:
    return nut / "ground_truth" / "spot" / f"{number:03}_mask.png"


def write_mask(nut: Path, number: int, mask: np.ndarray) -> None:
    Image.fromarray(mask.astype(np.uint8) * 255).save(mask_of(nut, number))


def a_pixel(row: int = 40, column: int = 37) -> np.ndarray:
    mask = np.zeros((80, 72), bool)
    mask[row, column] = True
    return mask


def large(nut: Path) -> None:
    """Make the second image ten times as large; its mask of one pixel is lost in the map."""
    path = nut / "test" / "spot" / "001.png"
    Image.open(path).resize((720, 800)).save(path)
    mask = np.zeros((800, 720), bool)
    mask[401, 333] = True
    write_mask(nut, 1, mask)


def notes_of(evaluation: mambaad.Evaluation) -> list[str]:
    """The notes, but for that on few images, which all of these classes have."""
    return [note for note in evaluation.notes if "few test images" not in note]


def test_a_region_too_small_for_the_map_keeps_a_pixel_and_is_counted(nut, trained_run) -> None:
    assert notes_of(mambaad.evaluate(trained_run, nut.parent)) == []
    large(nut)
    evaluation = mambaad.evaluate(trained_run, nut.parent)
    (note,) = notes_of(evaluation)
    assert note.startswith("nut: 1 regions of masks are too small for the map's size, 64 x 64")
    assert str(nut / "test" / "spot" / "001.png") in note
    assert "--at mask" in note
    assert note in metrics_table(evaluation)
    # The same as if the mask had been drawn at the map's size.
    inspector = mambaad.Inspector(trained_run)
    truth, scores = [], []
    for path in sorted((nut / "test").glob("*/*.png")):
        mask = np.zeros((64, 64), bool)
        if path.parent.name == "spot":
            given = Image.open(mask_of(nut, int(path.stem)))
            mask = np.asarray(given.resize((64, 64), Image.Resampling.NEAREST)) > 0
            if path.stem == "001":
                assert not mask.any()
                mask[401 * 64 // 800, 333 * 64 // 720] = True
        truth.append(mask)
        scores.append(inspector.inspect(path).anomaly_map)
    expected = average_precision_score(np.ravel(truth), np.ravel(scores))
    assert evaluation.classes["nut"]["pixel_ap"] == pytest.approx(expected, abs=1e-6)


def test_at_the_masks_size_the_map_is_resized(nut, trained_run) -> None:
    large(nut)
    evaluation = mambaad.evaluate(trained_run, nut.parent, at="mask")
    assert notes_of(evaluation) == []
    inspector = mambaad.Inspector(trained_run)
    truth, scores = [], []
    for path in sorted((nut / "test").glob("*/*.png")):
        height, width, _ = read_image(path).shape
        found = Image.fromarray(inspector.inspect(path).anomaly_map)
        scores.append(np.asarray(found.resize((width, height), Image.Resampling.BILINEAR)).ravel())
        mask = np.zeros((height, width), bool)
        if path.parent.name == "spot":
            mask = np.asarray(Image.open(mask_of(nut, int(path.stem)))) > 0
        truth.append(mask.ravel())
    truth, scores = np.concatenate(truth), np.concatenate(scores)
    figures = evaluation.classes["nut"]
    assert figures["pixel_auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)
    assert figures["pixel_ap"] == pytest.approx(average_precision_score(truth, scores), abs=1e-6)
    assert "pixels at the masks' own size, maps of 64 x 64" in metrics_table(evaluation)
    assert json.loads(evaluation.to_json())["at"] == "mask"
    assert {row["at"] for row in csv.DictReader(io.StringIO(evaluation.to_csv()))} == {"mask"}


def test_where_pixels_are_compared_is_checked(nut, trained_run) -> None:
    with pytest.raises(ConfigError, match="--at: expected one of map, mask, got 'image'"):
        mambaad.evaluate(trained_run, nut.parent, at="image")
    with pytest.raises(ConfigError, match="--at mask: ader-paper is defined at the map's size"):
        mambaad.evaluate(trained_run, nut.parent, at="mask", protocol="ader-paper")


def test_an_image_that_turns_good_as_published_is_named(nut, trained_run) -> None:
    large(nut)
    found = mambaad.evaluate(trained_run, nut.parent, protocol="ader-paper")
    lost, turned = notes_of(found)
    assert lost.startswith("nut: 1 regions of masks have no pixel left at 64 x 64 pixels")
    assert turned.startswith("nut: 1 defective images count as good")
    assert str(nut / "test" / "spot" / "001.png") in turned
    assert sum(bad for _, bad in found.scores["nut"]) == 2


def test_an_empty_mask_is_named(nut, trained_run) -> None:
    write_mask(nut, 2, np.zeros((80, 72)))
    (note,) = notes_of(mambaad.evaluate(trained_run, nut.parent))
    assert note.startswith("nut: 1 defective images have an empty mask")


def test_inverted_masks_are_named(nut, trained_run) -> None:
    for number in range(3):
        write_mask(nut, number, ~a_pixel())
    (note,) = notes_of(mambaad.evaluate(trained_run, nut.parent))
    assert "3 of the 3 masks of nut mark the larger part of their image" in note
    assert "seem to be inverted" in note
    write_mask(nut, 0, a_pixel())
    write_mask(nut, 1, a_pixel())
    (note,) = notes_of(mambaad.evaluate(trained_run, nut.parent))
    assert note.startswith("nut has 1 masks that mark the larger part of their image")
    assert f"{mask_of(nut, 2)} the first: are they inverted?" in note


def test_an_image_turned_otherwise_than_its_mask_is_named(nut, trained_run) -> None:
    path = nut / "test" / "spot" / "001.png"
    Image.open(path).save(path, exif=exif(3))
    (note,) = notes_of(mambaad.evaluate(trained_run, nut.parent))
    assert note.startswith("nut has 1 images whose orientation (EXIF) is not that of their masks")
    assert str(path) in note


def test_few_images_come_with_an_interval(nut, trained_run) -> None:
    (note,) = mambaad.evaluate(trained_run, nut.parent).notes
    assert note.startswith("nut: few test images, 3 good and 3 defective: its image AU-ROC of ")
    for folder in ("good", "spot"):
        for i in range(3, 10):
            shutil.copy(nut / "test" / folder / "000.png", nut / "test" / folder / f"{i:03}.png")
            if folder == "spot":
                shutil.copy(mask_of(nut, 0), mask_of(nut, i))
    assert mambaad.evaluate(trained_run, nut.parent).notes == ()


def test_missing_figures_have_their_reason_beside(nut, trained_run) -> None:
    shutil.rmtree(nut / "ground_truth")
    evaluation = mambaad.evaluate(trained_run, nut.parent)
    assert evaluation.reasons == {"nut": "no masks"}
    assert [row[-1] for row in evaluation.to_rows()] == [
        *("missing", "no masks", "", "image scores only")
    ]
    assert "no masks" in metrics_table(evaluation).splitlines()[1]
    shutil.rmtree(nut / "test" / "good")
    evaluation = mambaad.evaluate(trained_run, nut.parent)
    assert evaluation.reasons == {"nut": "no good test images, no masks"}
    assert "few" not in " ".join(evaluation.notes)


def test_classes_of_one_kind_of_image_say_so(nut, trained_run) -> None:
    for number in range(3):
        write_mask(nut, number, np.zeros((80, 72)))
    assert mambaad.evaluate(trained_run, nut.parent).reasons == {"nut": "no pixel is marked"}
    shutil.rmtree(nut / "test" / "spot")
    shutil.rmtree(nut / "ground_truth")
    found = mambaad.evaluate(trained_run, nut.parent)
    assert found.reasons == {"nut": "no defective test images"}


def test_a_defect_without_a_mask_where_others_have_one_is_refused(nut, trained_run) -> None:
    (c,) = MVTEC.read(nut.parent)
    unmasked = c.test[-1].__class__(c.test[-1].path, "nut", "spot")
    changed = ProductClass("nut", (), (*c.test[:-1], unmasked))
    engine = mambaad.Inspector(trained_run).engine
    with pytest.raises(DataError, match=f"{unmasked.path} has no mask, as 1 of the defective"):
        evaluate_engine(engine, [changed], "exact")


def test_a_data_sets_own_figures_say_where_pixels_are_compared(nut, trained_run) -> None:
    large(nut)
    (nut / "test" / "spot").rename(nut / "test" / "logical_anomalies")
    for number in range(3):
        folder = nut / "ground_truth" / "logical_anomalies" / f"{number:03}"
        folder.mkdir(parents=True)
        mask_of(nut, number).rename(folder / "000.png")
    (nut / "ground_truth" / "spot").rmdir()
    found = {at: mambaad.evaluate(trained_run, nut.parent, at=at) for at in ("map", "mask")}
    lost, unlisted = found["map"].further_notes
    assert lost.startswith("nut: 1 regions of masks are too small for the map's size, 64 x 64")
    assert found["mask"].further_notes == (unlisted,)
    assert "3 regions have no saturation threshold in defects_config.json" in unlisted
    for at, words in (("map", "the map's size, 64 x 64"), ("mask", "the masks' own size")):
        lines = further_table(found[at]).splitlines()
        assert lines[0].startswith(f"figures of this data set, per cent; pixels at {words}")
        assert tuple(lines[-len(found[at].further_notes) :]) == found[at].further_notes
        assert json.loads(found[at].to_json())["further_notes"] == list(found[at].further_notes)
    values = [e.further["nut"]["AU-sPRO logical"] for e in found.values()]
    assert values[0] != values[1]
    published = mambaad.evaluate(trained_run, nut.parent, protocol="ader-paper")
    assert published.further == found["map"].further  # in which no region is lost
    assert lost in published.further_notes
