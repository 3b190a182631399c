"""``evaluate --records``: exactly the metrics of the same maps, without the network."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mambaad
from mambaad.data.layouts import read_data
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.inspection.inspector import Inspector
from mambaad.shards.processes import Processes
from mambaad.workflows.evaluate import evaluate_engine
from mambaad.workflows.inspect import inspect


class With16Bits:
    """An engine whose maps are rounded as they are kept."""

    def __init__(self, engine) -> None:
        self._engine = engine

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def observe(self, images):
        return [
            found._replace(anomaly_map=found.anomaly_map.astype(np.float16).astype(np.float32))
            for found in self._engine.observe(images)
        ]


@pytest.fixture(scope="module")
def kept(calibrated_run: Path, many_parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("jobs") / "kept"
    inspect(calibrated_run, [many_parts], out, executor=Processes(1), shard_size=20, maps=True)
    return out


@pytest.fixture(scope="module")
def inspector(calibrated_run: Path) -> Inspector:
    return Inspector(calibrated_run)


@pytest.mark.parametrize(("protocol", "at"), [("exact", "map"), ("exact", "mask")])
def test_metrics_are_those_of_the_same_maps(kept, inspector, many_parts, protocol, at):
    found = mambaad.evaluate(inspector, many_parts, protocol=protocol, at=at, records=kept)
    classes = read_data(many_parts, split="test")
    engine = With16Bits(inspector.engine)
    expected = evaluate_engine(engine, classes, protocol, at=at)
    assert found.classes == expected.classes
    assert all(value is not None for values in found.classes.values() for value in values.values())
    assert found.scores == expected.scores
    assert replace(found, model_seconds=0, metric_seconds=0) == replace(
        expected, model_seconds=0, metric_seconds=0
    )


def test_the_network_is_not_run(kept, inspector, many_parts, monkeypatch):
    monkeypatch.setattr(type(inspector.engine), "observe", None)
    assert mambaad.evaluate(inspector, many_parts, records=kept).classes


def test_what_is_refused(kept, inspector, calibrated_run, trained_run, many_parts, parts, tmp_path):
    def refused(error, message, run=inspector, data=many_parts, records=kept, **options):
        with pytest.raises(error, match=message):
            mambaad.evaluate(run, data, records=records, **options)

    refused(ConfigError, "gives no --verdicts", verdicts=True)
    refused(RunError, "has no job.json", records=tmp_path)
    refused(RunError, "has the records of another model", run=trained_run, data=parts)
    refused(DataError, "has no record of 12 of 12 test images", data=parts)
    good = many_parts / "nut" / "test"
    inspect(calibrated_run, [good], tmp_path / "few", executor=Processes(1))
    refused(RunError, "has no maps", records=tmp_path / "few")
    inspect(calibrated_run, [good], tmp_path / "maps", executor=Processes(1), maps=True)
    refused(DataError, "has no record of 6 of 12 test images", records=tmp_path / "maps")
    (tmp_path / "maps" / "done" / "part-00000000.json").unlink()
    refused(RunError, "1 of 1 shards in .* are not done", records=tmp_path / "maps")


@pytest.mark.parametrize("name", ["maps/part-00000000.npy", "parquet/part-00000000.parquet"])
def test_changed_files_are_refused(kept, inspector, many_parts, tmp_path, name):
    copy = shutil.copytree(kept, tmp_path / "copy")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(RunError, match=r"it has changed since.*inspect --resume' makes it again"):
        mambaad.evaluate(inspector, many_parts, records=copy)
    (copy / "done" / "part-00000000.json").unlink()
    sources = [many_parts]
    inspect(
        *(inspector.source, sources, copy),
        executor=Processes(1),
        shard_size=20,
        maps=True,
        resume=True,
    )
    again, expected = (
        mambaad.evaluate(inspector, many_parts, records=job).classes for job in (copy, kept)
    )
    assert again == expected


def test_images_without_a_result(kept, inspector, calibrated_run, many_parts, tmp_path):
    folder = tmp_path / "parts"
    for path in (*many_parts.glob("nut/t*/*/*.png"), *many_parts.glob("nut/g*/*/*.png")):
        copy = folder / path.relative_to(many_parts)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    bad = folder / "nut" / "test" / "good" / "000.png"
    whole = bad.read_bytes()
    bad.write_bytes(b"no image")
    out = tmp_path / "out"
    inspect(calibrated_run, [folder / "nut" / "test"], out, executor=Processes(1), maps=True)
    bad.write_bytes(whole)
    with pytest.raises(DataError, match=r"000\.png cannot be read as an image"):
        mambaad.evaluate(inspector, folder, records=out)
    left = mambaad.evaluate(inspector, folder, records=out, skip_unreadable=True)
    assert len(left.scores["nut"]) == 5
