"""Signatures of bundles: who made one, and that it was not changed since."""

import hashlib
import json
import re
import shutil
import stat
import subprocess
import sys
import threading
import zipfile

import pytest

from mambaad.artifacts.bundle import Manifest, listed, write_bundle
from mambaad.artifacts.manifest import CONFIG, DATA, PROTOTYPES, VERSION, WEIGHTS
from mambaad.artifacts.signatures import SIGNATURE, make_keys, required, required_key
from mambaad.artifacts.snapshot import opened, read_manifest
from mambaad.errors import ConfigError, MambaADError, RunError
from tests.killing import kill_at_every_change

pytest.importorskip("cryptography")

MEMBERS = {
    CONFIG: b"{}",
    DATA: b'{"classes": {"nut": {"train": 1, "test": 0}}, "fingerprint": "0"}',
    VERSION: b"{}",
    WEIGHTS: b"weights",
    PROTOTYPES: b"prototypes",
}


@pytest.fixture
def key(tmp_path):
    make_keys(tmp_path / "line.key")
    return tmp_path / "line.key"


@pytest.fixture
def public(key):
    return key.with_name("line.key.pub")


def bundle(path, key=None, **changes):
    manifest = Manifest(
        format=1,
        files=listed(MEMBERS),
        versions={},
        classes=["nut"],
        fingerprint="0",
        encoder={},
        **changes,
    )
    write_bundle(path, manifest, MEMBERS, key)
    return path


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def refused(error, match, path, public):
    with pytest.raises(error, match=match) as caught, opened(path, public):
        pass
    assert "\n" not in str(caught.value)


def test_what_was_signed_is_accepted_and_the_same_each_time(tmp_path, key, public):
    signed = bundle(tmp_path / "a.mambaad", key)
    with opened(signed, public) as run:
        assert run.read(WEIGHTS) == b"weights"
        assert run.signature is not None
    assert read_manifest(signed).classes == ["nut"]  # also by who asks for no signature
    assert bundle(tmp_path / "b.mambaad", key).read_bytes() == signed.read_bytes()


def test_openssl_verifies_it_too(tmp_path, key, public):
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    content = members(bundle(tmp_path / "a.mambaad", key))
    (tmp_path / "manifest").write_bytes(content["bundle.json"])
    signature = json.loads(content[SIGNATURE])["signature"]
    (tmp_path / "signature").write_bytes(bytes.fromhex(signature))
    subprocess.run(
        [
            *("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin"),
            *("-in", tmp_path / "manifest", "-sigfile", tmp_path / "signature"),
        ],
        check=True,
        capture_output=True,
    )


def test_an_unsigned_one_and_a_run_are_refused(tmp_path, public):
    unsigned = bundle(tmp_path / "a.mambaad")
    refused(RunError, r"a\.mambaad is not signed, .* mambaad bundle --sign", unsigned, public)
    with required(public), pytest.raises(RunError, match="is not signed"):
        read_manifest(unsigned)
    read_manifest(unsigned)
    assert required_key() is None


def test_that_of_another_key_is_refused(tmp_path, key):
    other = make_keys(tmp_path / "other.key")
    signed = bundle(tmp_path / "a.mambaad", key)
    refused(RunError, r"is signed with the key [0-9a-f]{16}, expected", signed, other)


def test_no_changed_content_is_accepted(tmp_path, key, public):
    content = members(bundle(tmp_path / "a.mambaad", key))
    signature = json.loads(content[SIGNATURE])
    flipped = {**signature, "signature": f"{'0' * 8}{signature['signature'][8:]}"}
    manifest = json.loads(content["bundle.json"])
    evil = b"other weights"
    files = {
        **manifest["files"],
        WEIGHTS: {"size": len(evil), "sha256": hashlib.sha256(evil).hexdigest()},
    }
    cases = [
        {SIGNATURE: json.dumps(flipped).encode()},
        {"bundle.json": json.dumps(manifest).encode()},  # the same in other bytes
        {"bundle.json": json.dumps({**manifest, "files": files}).encode(), WEIGHTS: evil},
    ]
    for number, changes in enumerate(cases):
        path = rewritten(tmp_path / f"{number}.mambaad", {**content, **changes})
        refused(RunError, "has a signature that is not of its content", path, public)
    path = rewritten(tmp_path / "b.mambaad", {**content, WEIGHTS: b"Weights"})
    with opened(path, public) as run, pytest.raises(RunError, match="has changed since"):
        run.read(WEIGHTS)


@pytest.mark.parametrize(
    "changes",
    [{"algorithm": "rsa"}, {"key": "0"}, {"signature": "00"}, {"signature": None}, {"more": 1}],
)
def test_a_damaged_signature_is_refused_by_all(tmp_path, key, changes):
    content = members(bundle(tmp_path / "a.mambaad", key))
    signature = {**json.loads(content[SIGNATURE]), **changes}
    path = rewritten(tmp_path / "b.mambaad", {**content, SIGNATURE: json.dumps(signature).encode()})
    with pytest.raises(RunError, match=r"its signature\.json is invalid"):
        read_manifest(path)


def test_keys_are_secret_and_never_replaced(tmp_path, key, public):
    if sys.platform != "win32":
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes(), public.read_bytes()
    with pytest.raises(ConfigError, match="exists; keys are never replaced"):
        make_keys(key)
    assert (key.read_bytes(), public.read_bytes()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="forks and kills as other systems do")
def test_a_kill_leaves_no_half_of_a_pair(tmp_path, key, public):
    public.unlink()
    before = key.read_bytes()
    assert make_keys(key) == public
    assert key.read_bytes() == before
    pair = tmp_path / "pair"
    pair.mkdir()
    setup = "from mambaad.artifacts.signatures import make_keys\ndef make(key):\n"
    setup += "    if not key.with_name('a.pub').exists():\n        make_keys(key)"
    assert kill_at_every_change("make(place / 'a')", pair, setup=setup) > 5
    assert {path.name for path in pair.iterdir()} == {"a", "a.pub"}
    for private, its_public in ((key, public), (pair / "a", pair / "a.pub")):
        signed = bundle(tmp_path / f"{private.name}.mambaad", private)
        with opened(signed, its_public):  # which verifies the signature
            pass


def test_of_two_that_make_the_same_keys_one_is_refused(tmp_path):
    barrier, outcomes = threading.Barrier(2), []

    def make():
        barrier.wait()
        try:
            outcomes.append(make_keys(tmp_path / "a.key"))
        except MambaADError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refusals = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert len(refusals) == 1
    assert re.search("exists; keys are never replaced|is being written by", refusals[0])
    signed = bundle(tmp_path / "a.mambaad", tmp_path / "a.key")
    with opened(signed, tmp_path / "a.key.pub"):
        pass


def test_what_is_no_key_is_one_line(tmp_path, key, public):
    (tmp_path / "text").write_text("no key")
    for wrong in (tmp_path / "text", key, tmp_path / "absent", tmp_path):
        refused(ConfigError, r"^--require-signature: ", bundle(tmp_path / "a.mambaad"), wrong)
    for wrong in (tmp_path / "text", public, tmp_path / "absent"):
        with pytest.raises(ConfigError, match=r"^--sign: "):
            bundle(tmp_path / "b.mambaad", wrong)
    assert not (tmp_path / "b.mambaad").exists()


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"pip install 'mambaad\[sign\]'"):
        make_keys(tmp_path / "a.key")
