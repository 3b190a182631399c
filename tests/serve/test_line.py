"""A line: parts come from a watched folder, verdicts go to MQTT, OPC UA and a webhook.

The service is killed, and each receiver too: every file is inspected exactly once, and every
inspection arrives everywhere at least once, doubles with the same id.
"""

import io
import threading
import time
from collections import Counter

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.serve.killing import Served
from tests.serve.receivers import Hook, Mosquitto, Plc, Subscriber, wait_for

PARTS = 8


@pytest.fixture
def receivers(tmp_path):
    """What verdicts go to; the broker, and who listens to it."""
    hook, plc, broker = Hook(), Plc(tmp_path), Mosquitto(tmp_path)
    subscriber = Subscriber(broker.port, "line/#")
    yield hook, plc, broker, subscriber
    for one in (subscriber, broker, plc, hook):
        one.close()


def write_slowly(folder, good):
    """Write parts as some cameras do, over half a second or 3 s each."""
    pixels = np.asarray(Image.open(io.BytesIO(good)).convert("RGB"))
    for number in range(PARTS):
        file = io.BytesIO()
        kind, seconds = ("PNG", 0.5) if number % 3 else ("TIFF", 3.0)
        Image.fromarray(np.roll(pixels, number, 1)).save(file, kind)
        content = file.getvalue()
        step = len(content) // 6 + 1
        with (folder / f"{number}.{kind.lower()}").open("wb") as part:
            for start in range(0, len(content), step):
                part.write(content[start : start + step])
                part.flush()
                time.sleep(seconds / 6)


def test_nothing_is_lost_by_kills_on_the_way(line, receivers, tmp_path, good, monkeypatch):
    hook, plc, broker, subscriber = receivers
    monkeypatch.setenv("MAMBAAD_WEBHOOK_SECRET", "hidden secret")
    folder = tmp_path / "in"
    folder.mkdir()
    options = (
        *("--mode", "throughput", "--workers", "1", "--min-free-mb", "1"),
        *("--watch", str(folder), "--watch-then", "move", "--webhook", hook.url),
        *("--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--mqtt-topic", "line"),
        *("--opcua", plc.url),
    )
    served = Served(line, tmp_path / "data", *options)
    writing = threading.Thread(target=write_slowly, args=(folder, good))
    writing.start()
    wait_for(lambda: plc.got)
    for receiver in (hook, plc, broker):
        receiver.kill()
    time.sleep(1.5)  # inspections wait, and a file is being written
    served.kill()
    served = Served(line, tmp_path / "data", *options, port=served.port)
    for receiver in (hook, plc, broker):
        receiver.start()
    writing.join()

    def inspections():
        return httpx.get(f"{served.url}/v1/inspections?limit=500").json()["items"]

    wait_for(lambda: len(inspections()) == PARTS)
    ids = {one["id"] for one in inspections()}
    for receiver in (hook, plc, subscriber):
        wait_for(lambda receiver=receiver: {key for key, _ in receiver.got} == ids, 90)
    wait_for(lambda: not any(s["waiting"] for s in httpx.get(f"{served.url}/v1/sinks").json()))
    assert len(inspections()) == PARTS
    assert {one["error"] for one in inspections()} == {None}
    assert Counter(one["path"] for one in inspections()) == Counter(
        path.name for path in (folder / "inspected").iterdir()
    )
    assert served.stop() == 0
    wait_for(lambda: subscriber.statuses[-1] == "offline")
    assert "hidden" not in (tmp_path / "data.log").read_text()
