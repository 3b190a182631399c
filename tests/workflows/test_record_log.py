"""The log of a stream's records: added to, mended, and of nothing else."""

import json

import pytest

from mambaad.errors import RunError
from mambaad.inspection.records import CycleRecord, Record
from mambaad.workflows.record_log import record_log, taken_times


def record(number, **more):
    return CycleRecord(path=f"/in/{number}.png", cycle=number, source="/in", **more)


def cycles(path):
    return [json.loads(line)["cycle"] for line in path.read_text().splitlines()]


def test_records_are_added_and_there_at_once(tmp_path):
    path = tmp_path / "predictions.jsonl"
    with record_log(path) as log:
        log.add(record(1))
        assert cycles(path) == [1]
        log.add(record(2))
    with record_log(path) as log:
        log.add(record(3))
    assert cycles(path) == [1, 2, 3]


@pytest.mark.parametrize("torn", ['{"cycle": 3, "pa', "x" * 200_000, "\0" * 4096])
def test_a_torn_last_line_is_cut_off(tmp_path, torn):
    path = tmp_path / "predictions.jsonl"
    with record_log(path) as log:
        log.add(record(1))
        log.add(record(2))
    with path.open("a") as file:
        file.write(torn)
    with record_log(path) as log:
        log.add(record(3))
    assert cycles(path) == [1, 2, 3]


def test_a_file_of_other_records_is_left_alone(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_text(Record(path="a.png").model_dump_json() + "\n")
    before = path.read_bytes()
    with pytest.raises(RunError, match="has other records than those of mambaad watch"):
        record_log(path).__enter__()
    assert path.read_bytes() == before


def test_files_are_known_by_their_last_time(tmp_path):
    path = tmp_path / "predictions.jsonl"
    assert taken_times(path) == {}
    with record_log(path) as log:
        log.add(record(1, taken="2026-01-01T00:00:00.000+00:00"))
        log.add(record(1, taken="2026-01-02T00:00:00.000+00:00"))
        log.add(record(2))
    assert taken_times(path) == {"/in/1.png": "2026-01-02T00:00:00.000+00:00"}
