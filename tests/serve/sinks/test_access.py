"""Users and passwords for receivers: where from, and that no message shows them."""

from pathlib import Path

import pytest

from mambaad.errors import ConfigError
from mambaad.serve.sinks.access import read_access


def write(tmp_path, text, mode=0o600):
    path = tmp_path / "secrets.yaml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_file_and_the_environment(tmp_path, monkeypatch):
    path = write(
        tmp_path,
        "mqtt:\n  user: line\n  password: 0123\n  ca: /etc/ca.pem\nwebhook: {secret: s}\n",
    )
    monkeypatch.setenv("MAMBAAD_OPCUA_USER", "anna")
    monkeypatch.setenv("MAMBAAD_OPCUA_PASSWORD", "pw")
    monkeypatch.setenv("MAMBAAD_WEBHOOK_SECRET", "from outside")
    access = read_access(path)
    assert (access.mqtt.user, access.mqtt.password.get_secret_value()) == ("line", "0123")
    assert access.mqtt.ca == Path("/etc/ca.pem")
    assert (access.opcua.user, access.opcua.password.get_secret_value()) == ("anna", "pw")
    assert access.webhook.secret.get_secret_value() == "from outside"
    assert not [word for word in ("0123", "pw", "outside") if word in repr(access)]


def test_without_either_there_is_nothing(monkeypatch):
    assert read_access(None).mqtt.user is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mqtt: {password: hidden}", "mqtt: a password needs a user"),
        ("mqtt: {user: [hidden]}", "mqtt.user"),
        ("mqtt: {token: hidden}", "mqtt.token"),
        ("amqp: {user: hidden}", "amqp"),
        ("opcua: {certificate: hidden}", "opcua: certificate and key go together"),
        ("mqtt: hidden", "expected lines such as"),
        ("- hidden", "expected lines such as"),
        ("mqtt: {user: hidden", "line 1: expected YAML; put values into single quotes"),
        ("mqtt:\n  user: a\n  password: !hidden", "mqtt.password: .* at least 1"),  # a tag
        ("mqtt:\n  user: a\n  password: *hidden", "line 3: expected YAML"),
    ],
)
def test_what_is_wrong_is_said_without_secrets(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_access(write(tmp_path, text))
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_others_can_read_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="chmod 600"):
        read_access(write(tmp_path, "mqtt: {user: a}", 0o644))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_access(tmp_path / "absent")
