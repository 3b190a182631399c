"""The service as a line starts it: the command of the documents, curl, the client, signals."""

import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from mambaad.serve.client import Client, ServiceError
from tests.serve.killing import Served

PAGE = Path(__file__).parents[2] / "docs" / "serve.md"


@pytest.fixture(scope="module")
def served(line, tmp_path_factory):
    running = Served(
        line,
        tmp_path_factory.mktemp("run") / "data",
        "--mode",
        "throughput",
        "--workers",
        "1",
        "--min-free-mb",
        "1",
    )
    yield running
    if running.process.poll() is None:
        assert running.stop() == 0


@pytest.fixture
def client(served):
    with Client(served.url, tries=2) as made:
        yield made


def test_the_curl_commands_of_the_documents_work(served, many_parts, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    shutil.copy(many_parts / "bolt" / "test" / "spot" / "000.png", tmp_path / "part.png")
    commands = re.findall(r"^curl .*?[^\\]$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(commands) >= 3
    answer = {}
    for command in commands:
        command = command.replace("http://127.0.0.1:8000", served.url)
        command = command.replace("ID", answer.get("id", "ID"))
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        if done.stdout.startswith("{"):
            answer = {**json.loads(done.stdout), **({"id": answer["id"]} if answer else {})}
    assert (tmp_path / "heatmap.png").read_bytes().startswith(b"\x89PNG")


def test_the_client_inspects_lists_and_decides(client, many_parts, good):
    path = many_parts / "bolt" / "test" / "spot" / "001.png"
    found = client.inspect(path, serial="C-1", product="bolt")
    assert (found["path"], found["serial"], found["product"]) == ("001.png", "C-1", "bolt")
    assert client.inspection(found["id"]) == found
    assert [one["id"] for one in client.inspections(serial="C-1")] == [found["id"]]
    decision = client.decide(found["id"], "defective", note="seen")
    assert client.inspection(found["id"])["decision_id"] == decision["id"]
    later = client.inspect(good, serial="C-2", wait=False)
    assert client.inspection(later["id"], wait=30)["status"] == "done"
    assert client.heatmap(found["id"]).startswith(b"\x89PNG")
    assert found["id"] not in [one["id"] for one in client.review(product="bolt", limit=1)]
    with pytest.raises(ServiceError, match="not_an_image") as caught:
        client.inspect(b"no image")
    assert caught.value.status == 415


def test_the_client_reads_pages_to_the_end(client, good):
    for _ in range(5):
        client.inspect(good, serial="pages")
    assert len(list(client.inspections(serial="pages", limit=2))) == 5


def test_events_come_as_they_happen_and_none_is_left_out(client, served, good):
    stream = client.events(last=0)
    first = next(stream)
    assert (first["event"], first["data"]["kind"]) == ("bundle_use", "bundle_use")
    found = client.inspect(good, serial="E")
    for event in stream:
        if event["data"].get("serial") == "E":
            break
    assert event["data"]["id"] == found["id"]

    def ask():
        with Client(served.url) as third:
            third.inspect(good, serial="F")

    asked = threading.Timer(0.5, ask)
    asked.start()
    with Client(served.url) as other:  # from now on, waiting
        live = next(e for e in other.events(last=event["id"]) if e["event"] == "inspection")
    assert live["data"]["serial"] == "F"
    asked.join()


def test_a_busy_port_and_a_broken_bundle_are_one_line(served, line, tmp_path):
    program = [sys.executable, "-c", "from mambaad.cli.app import main; main()", "serve"]
    (tmp_path / "x.mambaad").write_bytes(b"no bundle")
    for arguments in ([tmp_path / "x.mambaad"], [line, "--port", served.port]):
        done = subprocess.run(
            [*program, *map(str, arguments), "--data", str(tmp_path / "data")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        (last,) = [line for line in done.stderr.splitlines() if line.startswith("mambaad: ")]
        assert "--port" in last or "not a bundle" in last


def test_ctrl_c_ends_it_and_its_processes(served, client, good):
    workers = served.workers()
    assert len(workers) == 1
    client.inspect(good)
    with httpx.stream("GET", f"{served.url}/v1/events") as open_stream:
        code = served.stop()  # streams of events do not hold it up
        assert open_stream.status_code == 200
    assert code == 0
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    log = Path(served._log.name).read_text(encoding="utf-8")
    lines = [json.loads(one) for one in log.splitlines() if one.startswith("{")]
    assert {"method", "path", "status", "ms"} <= {
        key for one in lines if one["message"] == "request" for key in one
    }
