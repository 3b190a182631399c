"""``mambaad keygen`` and ``--require-signature`` as they are typed."""

import pytest

from tests.artifacts.test_signatures import bundle

pytest.importorskip("cryptography")


def test_on_the_command_line(tmp_path, mambaad_command, monkeypatch):
    key, public = tmp_path / "a.key", tmp_path / "a.key.pub"
    assert mambaad_command("keygen", key)[0] == 0
    signed, unsigned = bundle(tmp_path / "a.mambaad", key), bundle(tmp_path / "b.mambaad")
    code, out, _ = mambaad_command("info", signed)
    assert code == 0
    assert "not verified (--require-signature)" in out
    code, out, _ = mambaad_command("info", signed, "--require-signature", public)
    assert code == 0
    assert ", verified" in out
    for command in (
        ("info", unsigned),
        ("predict", unsigned, tmp_path, "--out", tmp_path / "out"),
        ("evaluate", unsigned, tmp_path),
        ("monitor", tmp_path, "--bundle", unsigned),
        ("registry", "add", "press", unsigned, "--root", tmp_path / "registry"),
    ):
        code, _, err = mambaad_command(*command, "--require-signature", public)
        assert (code, err.count("\n")) == (1, 1), command
        assert "b.mambaad is not signed" in err
    monkeypatch.setenv("MAMBAAD_REQUIRE_SIGNATURE", str(public))
    assert mambaad_command("info", unsigned)[0] == 1
    assert mambaad_command("info", signed)[0] == 0
    code, _, err = mambaad_command("info", signed, "--require-signature", tmp_path / "absent")
    assert (code, err.count("\n")) == (1, 1)
