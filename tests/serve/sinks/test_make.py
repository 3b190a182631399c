"""The sinks that settings name, and what is said where one cannot be made."""

import sys

import pytest

from mambaad.errors import ConfigError
from mambaad.serve.settings import make_settings
from mambaad.serve.sinks.make import make_sinks


def made(tmp_path, **options):
    return make_sinks(make_settings(bundle="b", data=tmp_path, **options))


def test_each_url_has_its_sink(tmp_path):
    assert made(tmp_path) == {}
    urls = {"webhook": "https://x/y", "mqtt": "mqtts://x", "opcua": "opc.tcp://x:4840/y"}
    assert list(made(tmp_path, **urls)) == list(urls)


def test_the_name_of_a_client_is_that_of_the_data(tmp_path):
    first, again = (made(tmp_path, mqtt="mqtt://x")["mqtt"]._client_id for _ in range(2))
    (tmp_path / "other").mkdir()
    other = made(tmp_path / "other", mqtt="mqtt://x")["mqtt"]._client_id
    assert first == again != other
    assert len(first) <= 23  # what each broker takes


@pytest.mark.parametrize(
    ("extra", "library", "url"),
    [("mqtt", "paho", "mqtt://x"), ("opcua", "asyncua", "opc.tcp://x")],
)
def test_a_missing_library_is_named(tmp_path, monkeypatch, extra, library, url):
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, f"mambaad.serve.sinks.{extra}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf"pip install 'mambaad\[serve,{extra}\]'"):
        made(tmp_path, **{extra: url})


def test_a_password_that_others_could_read_is_said(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MAMBAAD_MQTT_USER", "line")
    monkeypatch.setenv("MAMBAAD_MQTT_PASSWORD", "hidden")
    made(tmp_path, mqtt="mqtt://127.0.0.1")
    made(tmp_path, mqtt="mqtts://broker")
    assert capfd.readouterr().err == ""
    made(tmp_path, mqtt="mqtt://broker")
    said = capfd.readouterr().err
    assert "--mqtt: others on the network may read the password" in said
    assert "hidden" not in said


def test_a_broken_secret_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMBAAD_WEBHOOK_SECRET", "whsec_!")
    with pytest.raises(ConfigError, match="expected Base64 after whsec_"):
        made(tmp_path, webhook="http://x")
