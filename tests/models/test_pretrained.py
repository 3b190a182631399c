"""Without network, a training ends in seconds, quietly, and says what to do."""

import logging
import socket
import subprocess
import sys
import threading
import time
import types
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from mambaad.errors import ConfigError
from mambaad.models import pretrained
from mambaad.models.encoder import Encoder


@contextmanager
def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]


@contextmanager
def silent_server():
    """Takes connections, and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@contextmanager
def server(code):
    """Answers everything with one code."""

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(code)
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *arguments):
            pass

    asked = []
    listening = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield listening.server_port
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """A machine without any weights, and a short patience."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(pretrained, "_SECONDS", 0.5)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def known(monkeypatch, **about):
    """Have timm know one source of weights."""
    source = types.SimpleNamespace(
        **{"hf_hub_id": None, "hf_hub_filename": None, "url": None, **about}
    )
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: source)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (closed_port(), "127.0.0.1 cannot be reached: Connection refused"),
        (silent_server(), "127.0.0.1 cannot be reached: no answer within 0.5 s|timed out"),
        (server(503), "127.0.0.1 cannot be reached: it answers 503"),
    ],
)
def test_a_server_that_cannot_be_reached(no_weights, monkeypatch, place, reason, capfd):
    with place as port:
        known(monkeypatch, url=f"http://127.0.0.1:{port}/weights.pth")
        began = time.perf_counter()
        with pytest.raises(ConfigError, match=reason) as error:
            Encoder("resnet18", "timm")
        assert time.perf_counter() - began < 5
    text = str(error.value)
    assert text.startswith("--encoder-weights: timm's pretrained weights for 'resnet18' could not")
    assert "with --encoder-weights FILE, or use the encoder" in text
    assert text.endswith("--encoder embedded")
    assert "\n" not in text
    assert capfd.readouterr() == ("", "")


def test_a_server_that_answers_is_asked_for_the_weights(no_weights, monkeypatch, capfd):
    with server(404) as port:
        known(monkeypatch, url=f"http://127.0.0.1:{port}/weights.pth")
        with pytest.raises(ZeroDivisionError), pretrained.reached("resnet18"):  # noqa: PT012
            assert not huggingface_hub.constants.HF_HUB_OFFLINE
            logging.getLogger("timm").warning("not shown")
            raise ZeroDivisionError
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("timm").level == logging.NOTSET


def test_weights_that_are_here_need_no_network(no_weights, monkeypatch):
    """As the hub's client keeps them."""
    torch.manual_seed(0)
    state = timm.create_model("resnet18").state_dict()
    (repository,) = {timm.get_pretrained_cfg("resnet18").hf_hub_id}
    folder = no_weights / f"models--{repository.replace('/', '--')}"
    kept = folder / "snapshots" / ("0" * 40) / "model.safetensors"
    kept.parent.mkdir(parents=True)
    save_file(state, kept)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(pretrained, "_problem_of", lambda url: pytest.fail("asked the network"))
    encoder = Encoder("resnet18", "timm")
    assert torch.equal(encoder.backbone.state_dict()["conv1.weight"], state["conv1.weight"])
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_a_command_without_network_is_one_line_in_seconds(tmp_path, parts):
    """As a user types it; the address of the hub is read when its client is imported."""
    with closed_port() as port:
        environment = {
            "PATH": "",
            "PYTHONPATH": ":".join(sys.path),
            "HF_ENDPOINT": f"http://127.0.0.1:{port}",
            "HF_HOME": str(tmp_path),
            "TORCH_HOME": str(tmp_path),
        }
        done = subprocess.run(
            [sys.executable, "-m", "mambaad", "train", parts, "--out", tmp_path / "run"],
            capture_output=True,
            text=True,
            env=environment,
        )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("mambaad: --encoder-weights: timm's pretrained weights for 'resnet34'")
    assert not (tmp_path / "run").exists()
