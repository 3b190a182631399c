import csv
import errno
import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import mambaad
from mambaad.artifacts.manifest import PROTOTYPES
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.inference.torch_engine import TorchEngine
from mambaad.inspection.prediction import Prediction
from mambaad.inspection.records import Record, read_records
from mambaad.workflows.calibrate import calibrate
from mambaad.workflows.predict import verdicts_junit
from tests.runs import change


def table(out):
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def test_the_files_of_an_image(parts, trained_run, tmp_path):
    image = parts / "nut" / "test" / "spot" / "001.png"
    (row,) = mambaad.predict(trained_run, [image], tmp_path / "out")
    assert files(tmp_path / "out") == [
        "001.png.heatmap.png",
        "001.png.map.npy",
        "predictions.csv",
        "predictions.jsonl",
    ]
    anomaly_map = np.load(tmp_path / "out" / "001.png.map.npy")
    assert anomaly_map.shape == (64, 64)
    assert anomaly_map.dtype == np.float32
    with (
        Image.open(tmp_path / "out" / "001.png.heatmap.png") as heatmap,
        Image.open(image) as input,
    ):
        assert heatmap.size == input.size
        assert heatmap.mode == "RGB"
    (line,) = table(tmp_path / "out")
    assert line["path"] == row.path == image.as_posix()
    assert (line["class"], line["score"]) == ("nut", f"{row.score:.6f}")
    assert (line["verdict"], line["percentile"], line["error"]) == ("", "", "")
    assert list(read_records(tmp_path / "out" / "predictions.jsonl")) == [row]
    assert row.score == pytest.approx(anomaly_map.max())
    assert row.score == mambaad.Inspector(trained_run).inspect(image).score


def test_sub_folders_with_equal_names_do_not_collide(parts, trained_run, tmp_path):
    rows = mambaad.predict(trained_run, [parts / "nut" / "test", parts / "bolt"], tmp_path / "out")
    assert len(rows) == 6 + 6 + 6 + 3  # nut's test; bolt's training, test and masks
    written = files(tmp_path / "out")
    assert len(written) == 2 * len(rows) + 2
    assert "nut/test/spot/000.png.map.npy" in written
    assert "bolt/test/spot/000.png.map.npy" in written


def test_one_name_with_two_suffixes(parts, trained_run, tmp_path):
    with Image.open(parts / "nut" / "test" / "good" / "000.png") as image:
        (tmp_path / "in").mkdir()
        image.save(tmp_path / "in" / "a.png")
        image.save(tmp_path / "in" / "a.bmp")
    assert len(mambaad.predict(trained_run, [tmp_path / "in"], tmp_path / "out")) == 2
    assert len(files(tmp_path / "out")) == 6


def test_an_image_given_twice_is_done_once(parts, trained_run, tmp_path):
    folder = parts / "nut" / "test" / "good"
    rows = mambaad.predict(trained_run, [folder, folder / "000.png"], tmp_path / "out")
    assert len(rows) == 3


def test_an_unreadable_image_is_a_row_and_the_others_are_done(parts, trained_run, tmp_path):
    folder = shutil.copytree(parts / "nut" / "test" / "good", tmp_path / "in")
    (folder / "001.png").write_bytes(b"\x89PNG, but not really")
    rows = mambaad.predict(trained_run, [folder], tmp_path / "out", product="nut")
    assert [row.error is None for row in rows] == [True, False, True]
    bad = table(tmp_path / "out")[1]
    assert bad["score"] == ""
    assert "cannot be read as an image" in bad["error"]
    assert not (tmp_path / "out" / "001.png.heatmap.png").exists()


def test_a_second_run_replaces_its_own_output_and_does_not_read_it(parts, trained_run, tmp_path):
    folder = shutil.copytree(parts / "nut" / "test" / "good", tmp_path / "in")
    first = mambaad.predict(trained_run, [folder], folder / "out")
    before = files(folder / "out")
    second = mambaad.predict(trained_run, [folder], folder / "out")
    assert [r.model_copy(update={"time": None}) for r in second] == [
        r.model_copy(update={"time": None}) for r in first
    ]
    assert files(folder / "out") == before


def test_a_second_call_with_other_images_leaves_nothing_of_the_first(parts, trained_run, tmp_path):
    folder = shutil.copytree(parts / "nut" / "test" / "good", tmp_path / "in")
    mambaad.predict(trained_run, [folder], tmp_path / "out")
    (folder / "000.png").unlink()
    (folder / "001.png").write_bytes(b"no image")
    rows = mambaad.predict(trained_run, [folder], tmp_path / "out")
    assert [row.error is None for row in rows] == [False, True]
    assert files(tmp_path / "out") == [
        "002.png.heatmap.png",
        "002.png.map.npy",
        "predictions.csv",
        "predictions.jsonl",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses it by itself")
def test_two_calls_at_once_into_one_folder_are_refused(parts, trained_run, tmp_path, monkeypatch):
    folder, out, refused = parts / "nut" / "test" / "good", tmp_path / "out", []

    def again():
        second = pool.submit(mambaad.predict, trained_run, [folder], out, report=out)
        with pytest.raises(RunError, match="is being written by another mambaad process"):
            second.result()
        assert len(list(out.rglob("*.heatmap.png"))) == 1  # of the first call, left alone
        assert not (out / "predictions.csv").exists()
        refused.append(True)
        raise KeyboardInterrupt

    broken_off(monkeypatch, again, after=1)
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        mambaad.predict(trained_run, [folder], out)
    assert refused
    assert len(list(read_records(out / "predictions.jsonl"))) == 1


def test_what_is_not_inspected_has_records(parts, trained_run, tmp_path):
    folder = shutil.copytree(parts / "nut" / "test" / "good", tmp_path / "in")
    (folder / "001.png").rename(folder / "001.jp2")
    shutil.copytree(folder, folder / ".trash")
    (folder / "notes.txt").write_text("-")
    rows = mambaad.predict(trained_run, [folder], tmp_path / "out", report=tmp_path / "page")
    named = {Path(row.path).name: row for row in rows}
    assert {name for name, row in named.items() if row.skipped} == {".trash", "notes.txt"}
    assert not any(row.is_rejected for row in rows if row.skipped)
    assert named["001.jp2"].is_rejected
    assert named["001.jp2"].error.endswith("which is not read; convert or rename it to .png")
    assert named[".trash"].error.endswith(".trash (3 files) is hidden")
    assert list(read_records(tmp_path / "out" / "predictions.jsonl")) == rows
    assert len(table(tmp_path / "out")) == 3
    root = ElementTree.fromstring(verdicts_junit(rows))
    assert root.get("tests") == root.get("errors") == "3"


def test_nothing_to_predict(trained_run, tmp_path):
    with pytest.raises(DataError, match="does not exist; give an image or a folder"):
        mambaad.predict(trained_run, [tmp_path / "absent.png"], tmp_path / "out")
    with pytest.raises(DataError, match="no images in"):
        mambaad.predict(trained_run, [tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_product_and_place(parts, trained_run, tmp_path):
    image = parts / "nut" / "test" / "good" / "000.png"
    with pytest.raises(ConfigError, match="--class: the model was not trained on 'washer'"):
        mambaad.predict(trained_run, [image], tmp_path / "out", product="washer")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match=r"file cannot be written .File exists.; move it away"):
        mambaad.predict(trained_run, [image], tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_of_links_and_an_output_folder_around_it(parts, trained_run, tmp_path):
    # As in a working folder with links into a data set, predicted into that very folder.
    (tmp_path / "in").mkdir()
    for name in ("000", "001"):
        link = tmp_path / "in" / f"{name}.png"
        link.symlink_to(parts / "nut" / "test" / "good" / f"{name}.png")
    for _ in range(2):
        assert len(mambaad.predict(trained_run, [tmp_path / "in"], tmp_path / "in")) == 2
    assert "000.png.heatmap.png" in files(tmp_path / "in")


def test_results_that_cannot_be_written_are_a_row(parts, trained_run, tmp_path):
    shutil.copy(parts / "nut" / "test" / "good" / "000.png", tmp_path)
    (tmp_path / ("x" * 250 + ".png")).write_bytes((tmp_path / "000.png").read_bytes())
    long, short = mambaad.predict(trained_run, [tmp_path], tmp_path / "out")[::-1]
    assert "cannot be written" in long.error
    assert short.path == (tmp_path / "000.png").as_posix()
    assert short.error is None


def test_an_interruption_before_the_first_row_leaves_the_earlier_ones(
    parts, trained_run, tmp_path, monkeypatch
):
    def interrupted(*args):
        raise KeyboardInterrupt

    folder = parts / "nut" / "test" / "good"
    first = mambaad.predict(trained_run, [folder / "000.png"], tmp_path / "out")
    monkeypatch.setattr(TorchEngine, "observe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mambaad.predict(trained_run, [folder], tmp_path / "out")
    assert len(first) == len(table(tmp_path / "out")) == 1


def test_an_error_before_the_first_record_leaves_the_earlier_results(
    parts, trained_run, tmp_path, monkeypatch
):
    def failing(*args):
        raise RunError("the model gives no numbers")

    folder, out = parts / "nut" / "test" / "good", tmp_path / "out"
    mambaad.predict(trained_run, [folder / "000.png"], out)
    before = files(out)
    monkeypatch.setattr(TorchEngine, "observe", failing)
    with pytest.raises(RunError, match="gives no numbers"):
        mambaad.predict(trained_run, [folder], out)
    assert files(out) == before
    assert len(table(out)) == len(list(read_records(out / "predictions.jsonl"))) == 1
    with pytest.raises(RunError, match="gives no numbers"):
        mambaad.predict(trained_run, [folder], tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def broken_off(monkeypatch, problem, *, after):
    """Has observing the image that comes ``after`` so many call ``problem``."""
    observe, seen = TorchEngine.observe, []

    def observing(engine, images):
        seen.append(images)
        if len(seen) > after:
            problem()
        return observe(engine, images)

    monkeypatch.setattr(TorchEngine, "observe", observing)


def test_a_record_is_kept_as_soon_as_it_is_made(parts, trained_run, tmp_path, monkeypatch):
    folder, out = parts / "nut" / "test" / "good", tmp_path / "out"

    def killed():
        (record,) = read_records(out / "predictions.jsonl.part")
        assert record.path.endswith("good/000.png")
        raise KeyboardInterrupt

    broken_off(monkeypatch, killed, after=1)
    with pytest.raises(KeyboardInterrupt):
        mambaad.predict(trained_run, [folder], out)
    assert not (out / "predictions.jsonl.part").exists()
    assert len(list(read_records(out / "predictions.jsonl"))) == len(table(out)) == 1


def test_a_termination_keeps_what_is_done(parts, trained_run, tmp_path, monkeypatch):
    def unheeded(number, frame):
        raise AssertionError("SIGTERM would have ended it")

    before = signal.signal(signal.SIGTERM, unheeded)
    try:
        broken_off(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM), after=2)
        with pytest.raises(KeyboardInterrupt):
            mambaad.predict(trained_run, [parts / "nut" / "test" / "good"], tmp_path / "out")
        assert signal.getsignal(signal.SIGTERM) is unheeded
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(list(read_records(tmp_path / "out" / "predictions.jsonl"))) == 2
    assert len(table(tmp_path / "out")) == 2


def test_a_full_disk_is_one_line_and_what_is_done_stays(parts, trained_run, tmp_path, monkeypatch):
    dump = Record.model_dump_json

    def full(record):
        if record.path.endswith("001.png"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return dump(record)

    monkeypatch.setattr(Record, "model_dump_json", full)
    with pytest.raises(RunError, match=r"predictions\.jsonl cannot be written \(No space left"):
        mambaad.predict(trained_run, [parts / "nut" / "test" / "good"], tmp_path / "out")
    (record,) = read_records(tmp_path / "out" / "predictions.jsonl")
    assert record.path.endswith("000.png")


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode elsewhere")
@pytest.mark.parametrize("content", ["an image", "none"])
def test_a_name_that_is_not_utf_8(parts, trained_run, tmp_path, content):
    folder = tmp_path / "in"
    folder.mkdir()
    image = parts / "nut" / "test" / "good" / "000.png"
    shutil.copy(image, folder)
    odd = os.fsencode(folder) + b"/m\xfcller.png"
    with open(odd, "wb") as file:  # noqa: PTH123
        file.write(image.read_bytes() if content == "an image" else b"no image")
    report = tmp_path / "page"
    plain, strange = mambaad.predict(trained_run, [folder], tmp_path / "out", report=report)
    assert plain.error is None
    assert strange.path == f"{folder.as_posix()}/m\\xfcller.png"
    assert (strange.error is None) == (content == "an image")
    assert list(read_records(tmp_path / "out" / "predictions.jsonl")) == [plain, strange]
    assert [row["path"] for row in table(tmp_path / "out")] == [plain.path, strange.path]
    assert verdicts_junit([plain, strange])


def test_its_own_pictures_are_no_images(parts, trained_run, tmp_path):
    for out, report in (("out", "page"), (".", "."), ("out", "out/page"), (".", "pictures")):
        folder = shutil.copytree(parts / "nut" / "test" / "good", tmp_path / f"in {out} {report}")
        for _ in range(2):
            records = mambaad.predict(trained_run, [folder], folder / out, report=folder / report)
            assert [record.path[-7:] for record in records] == ["000.png", "001.png", "002.png"]


def test_a_part_without_a_verdict_is_rejected(calibrated_run, many_parts, tmp_path, monkeypatch):
    def without(observation, *args):
        return Prediction(observation.score, observation.anomaly_map, "nut")

    monkeypatch.setattr("mambaad.inspection.inspector.decide", without)
    image = many_parts / "nut" / "test" / "good" / "000.png"
    (record,) = mambaad.predict(calibrated_run, [image], tmp_path / "out", need_verdicts=True)
    assert record.is_rejected
    (unasked,) = mambaad.predict(calibrated_run, [image], tmp_path / "out")
    assert unasked.error is None
    for some in (record, unasked):
        root = ElementTree.fromstring(verdicts_junit([some]))
        assert root.get("errors") == "1"
        assert "no verdict" in root.find(".//error").get("message")


def test_an_unfinished_run_says_so(parts, trained_run, tmp_path, capsys):
    run = shutil.copytree(trained_run, tmp_path / "run")
    change(run, {}, [PROTOTYPES])
    image = parts / "nut" / "test" / "good" / "000.png"
    (row,) = mambaad.predict(run, [image], tmp_path / "out")
    assert row.product is None
    assert "training has not ended" in capsys.readouterr().err


def test_verdicts_of_a_calibrated_run(calibrated_run, many_parts, tmp_path):
    # With thresholds so low that most parts fail.
    run = shutil.copytree(calibrated_run, tmp_path / "run")
    calibrate(run, many_parts, target_fpr=0.6, review_fpr=0.95)
    images = [many_parts / "nut" / "test"]
    records = mambaad.predict(run, images, tmp_path / "out", product="nut")
    verdicts = [record.verdict.value for record in records]
    assert {"FAIL", "REVIEW"} & set(verdicts)
    assert [line["verdict"] for line in table(tmp_path / "out")] == verdicts
    for record in records:
        assert bool(record.regions) == (record.verdict.value != "PASS")
        assert 0 <= record.percentile <= 100
        # The outline is drawn in its own colour on the heatmap.
        name = record.path.split("/test/")[1]
        with Image.open(tmp_path / "out" / f"{name}.heatmap.png") as heatmap:
            outlined = (np.asarray(heatmap) == (64, 224, 255)).all(axis=2).any()
        assert outlined == bool(record.regions)
    assert list(read_records(tmp_path / "out" / "predictions.jsonl")) == records

    root = ElementTree.fromstring(verdicts_junit(records))
    assert root.get("tests") == "6"
    assert root.get("failures") == str(verdicts.count("FAIL"))
    assert root.get("skipped") == str(verdicts.count("REVIEW"))
    assert len(root.findall("testsuite[@name='nut']/testcase/failure")) == verdicts.count("FAIL")


def test_one_path_needs_no_list(trained_run, parts, tmp_path):
    path = parts / "nut" / "test" / "good" / "000.png"
    for number, images in enumerate((path, str(path), path.parent, [path], (str(path),))):
        records = mambaad.predict(trained_run, images, tmp_path / str(number))
        assert records[0].path == path.as_posix()
        assert len(records) == (3 if images == path.parent else 1)


@pytest.mark.parametrize("images", [5, None, [np.zeros((9, 9, 3), np.uint8)], b"part.png"])
@pytest.mark.usefixtures("users_checks_only")
def test_what_is_no_path_is_refused_in_one_line(trained_run, tmp_path, images):
    with pytest.raises(
        ConfigError, match=r"images: expected paths.* use mambaad\.Inspector\(run\)"
    ):
        mambaad.predict(trained_run, images, tmp_path / "out")
    assert not (tmp_path / "out").exists()
