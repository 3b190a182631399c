"""kill -9 of the service and of its workers under load: every part exactly once."""

from tests.serve.killing import kill_often


def test_nothing_is_lost_or_doubled_by_kills(line, good, defective, tmp_path):
    found = kill_often(line, tmp_path / "data", [good, defective], kills=4, seed=1)
    assert found["answered"] > 0
    expected = {
        "answered_without_inspection": 0,
        "parts_without_inspection": 0,
        "keys_twice": 0,
        "jobs_left": 0,
        "images_missing": 0,
        "half_written": 0,
        "audit_problem": None,
        "exit_code": 0,
    }
    assert {name: found[name] for name in expected} == expected
