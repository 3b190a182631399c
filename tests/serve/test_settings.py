"""The settings: what is refused, and that the command has them all."""

import inspect

import pytest

from mambaad.cli.serve import run
from mambaad.errors import ConfigError
from mambaad.serve.settings import ServeSettings, make_settings

FILE_ONLY = {"queue_bytes", "upload_seconds", "watch_settle"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"port": 70_000}, "--port"),
        ({"mode": "fast"}, "--mode"),
        ({"workers": 0}, "--workers"),
        ({"review_share": 1.5}, "--review-share"),
        ({"webhook": "ftp://x"}, "--webhook: expected http://HOST or https://HOST, got 'ftp://x'"),
        ({"webhook": "http://"}, "--webhook"),
        ({"mqtt": "broker:1883"}, "--mqtt: expected mqtt://HOST or mqtts://HOST"),
        ({"mqtt": "mqtt://x:99999"}, "--mqtt"),
        ({"mqtt_topic": "a/#"}, "--mqtt-topic"),
        ({"mqtt_topic": "$SYS"}, "--mqtt-topic"),
        ({"mqtt_topic": ""}, "--mqtt-topic"),
        ({"opcua": "http://x"}, "--opcua: expected opc.tcp://HOST"),
        ({"opcua_node": "ns=2;s=MambaAD"}, "--opcua-node"),
        ({"opcua_node": "ns=2;i={name}"}, "--opcua-node"),
        ({"opcua_node": "s={name}.{line}"}, "--opcua-node"),
        ({"keep": "some"}, "--keep"),
        ({"registry": "r", "line": "l"}, "not both"),
        ({"bundle": None}, "give a bundle"),
        ({"bundle": None, "registry": "r"}, "go together"),
    ],
)
def test_what_is_wrong_is_said_with_its_flag(given, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make_settings(**{"bundle": "b", **given})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["webhook", "mqtt", "opcua"])
def test_a_password_in_an_url_is_refused_and_not_shown(field):
    scheme = {"webhook": "https", "mqtt": "mqtt", "opcua": "opc.tcp"}[field]
    for url in (f"{scheme}://line:hidden@host", "x://line:hidden@host"):
        with pytest.raises(ConfigError, match=f"--{field}: ") as caught:
            make_settings(bundle="b", **{field: url})
        assert "hidden" not in str(caught.value)


def test_the_command_has_each_setting_with_its_default():
    flags = inspect.signature(run).parameters
    assert set(flags) == set(ServeSettings.model_fields) - FILE_ONLY
    for name, flag in flags.items():
        assert flag.default == ServeSettings.model_fields[name].default, name


def test_processes_and_threads_share_the_cores(monkeypatch):
    monkeypatch.setattr("mambaad.serve.settings._cores", lambda: 8)
    shared = {"bundle": "b"}
    for given, expected in (
        ({}, (1, 8)),
        ({"workers": 2}, (2, 4)),
        ({"mode": "throughput"}, (8, 1)),
        ({"mode": "throughput", "workers": 3}, (3, 1)),
    ):
        settings = make_settings(**shared, **given)
        assert (settings.processes, settings.threads) == expected
