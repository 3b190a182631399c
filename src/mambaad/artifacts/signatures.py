"""Signatures of bundles: Ed25519 (RFC 8032) over the bytes of the manifest, which has all digests.

A bundle's digests show damage; that it comes from whoever has the private key, its signature shows.
The keys are PEM files. Needs the package cryptography (``pip install 'mambaad[sign]'``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mambaad.documents import DocumentError, parse_json
from mambaad.errors import ConfigError, RunError
from mambaad.file_errors import cannot_read
from mambaad.files import LOCK, read_regular, written_whole
from mambaad.locks import held

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SIGNATURE = "signature.json"
_LARGEST_KEY = 2**14
_REQUIRED: list[Path | None] = []


class Signature(BaseModel):
    """The content of ``signature.json``.

    ``key``: the SHA-256 of the public key's 32 bytes. ``signature``: 64 bytes. Both in hexadecimal.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    algorithm: Literal["ed25519"] = "ed25519"
    key: str = Field(pattern="^[0-9a-f]{64}$")
    signature: str = Field(pattern="^[0-9a-f]{128}$")


@contextmanager
def required(public_key: Path | None) -> Iterator[None]:
    """Inside of this context, load only what a key has signed (ConfigError: no public key).

    With None, load anything: for what was made of something that was loaded as required.
    """
    if public_key is not None:
        _load_public(public_key)
    _REQUIRED.append(public_key)
    try:
        yield
    finally:
        _REQUIRED.remove(public_key)


def required_key() -> Path | None:
    """The public key that :func:`required` asks for; None without."""
    return _REQUIRED[-1] if _REQUIRED else None


def make_keys(path: Path) -> Path:
    """Make a pair of keys: the private one at ``path``, the public one beside it, ``*.pub``.

    If a kill has left the private one alone, its public key is added to it.

    Returns:
        The path of the public key.

    Raises:
        ConfigError: a key exists, or cryptography is missing.
        RunError: one of them cannot be written, or another process makes them.
    """
    _check_installed()
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = path.with_name(f"{path.name}.pub")
    with held(Path(os.path.realpath(path.parent), f".{path.name}{LOCK}"), path):
        key = None if public.exists() else _read_private(path)
        if key is None:
            for file in (path, public):
                if file.exists():
                    raise ConfigError(
                        f"{file} exists; keys are never replaced: choose another path"
                    )
            key = Ed25519PrivateKey.generate()
            with written_whole(path) as temporary:
                temporary.chmod(0o600)
                temporary.write_bytes(
                    key.private_bytes(
                        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
                    )
                )
        with written_whole(public) as temporary:
            temporary.write_bytes(
                key.public_key().public_bytes(
                    form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
                )
            )
    return public


def sign(manifest: bytes, private_key: Path) -> bytes:
    """Sign the bytes of a manifest; returns the content of ``signature.json``.

    Raises:
        ConfigError: no Ed25519 key in PEM, or cryptography is missing.
    """
    key = _load_private(private_key)
    found = Signature(key=_fingerprint(key.public_key()), signature=key.sign(manifest).hex())
    return (found.model_dump_json(indent=2) + "\n").encode()


def parse_signature(content: bytes, source: Path) -> Signature:
    """Read ``signature.json`` (RunError: it is damaged)."""
    try:
        return Signature.model_validate(parse_json(content, SIGNATURE))
    except (DocumentError, ValidationError) as error:
        raise RunError(f"{source} is damaged: its {SIGNATURE} is invalid; copy it again") from error


def check_signature(
    manifest: bytes, signature: Signature | None, public_key: Path, source: Path
) -> None:
    """Refuse a bundle that has no right signature of a key.

    Args:
        manifest: the bytes of its manifest.
        signature: of it; None if it has none.
        public_key: the file of the key.
        source: the bundle's path, for errors.

    Raises:
        ConfigError: no Ed25519 key in PEM, or cryptography is missing.
        RunError: there is no signature, or it is of another key or other bytes.
    """
    key = _load_public(public_key)
    from cryptography.exceptions import InvalidSignature

    if signature is None:
        raise RunError(
            f"{source} is not signed, and --require-signature {public_key} was given; make it "
            "with mambaad bundle --sign"
        )
    ours = _fingerprint(key)
    if signature.key != ours:
        raise RunError(
            f"{source} is signed with the key {signature.key[:16]}, expected {ours[:16]} "
            f"({public_key}); ask who made it"
        )
    try:
        key.verify(bytes.fromhex(signature.signature), manifest)
    except InvalidSignature:
        raise RunError(
            f"{source} has a signature that is not of its content; do not use it, and ask who "
            "made it"
        ) from None


def _load_private(path: Path) -> Ed25519PrivateKey:
    key = _parsed_private(_read_key(path, "--sign"))
    if key is None:
        raise ConfigError(
            f"--sign: {path} is no private Ed25519 key in PEM without a password; make one with "
            "mambaad keygen"
        )
    return key


def _read_private(path: Path) -> Ed25519PrivateKey | None:
    """Read a private key; None if there is none, or something else."""
    try:
        return _parsed_private(read_regular(path, _LARGEST_KEY))
    except OSError:
        return None


def _parsed_private(content: bytes) -> Ed25519PrivateKey | None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = _parsed(lambda: load_pem_private_key(content, password=None))
    return key if isinstance(key, Ed25519PrivateKey) else None


def _load_public(path: Path) -> Ed25519PublicKey:
    content = _read_key(path, "--require-signature")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = _parsed(lambda: load_pem_public_key(content))
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(
            f"--require-signature: {path} is no public Ed25519 key in PEM; give the .pub file of "
            "mambaad keygen"
        )
    return key


def _parsed(load: Any) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        key: object = load()
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: with a password
        return None
    return key


def _read_key(path: Path, flag: str) -> bytes:
    _check_installed()
    try:
        return read_regular(path, _LARGEST_KEY)
    except OSError as error:
        raise ConfigError(cannot_read(f"{flag}: {path}", error)) from error


def _check_installed() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "signatures need a package that is not installed: pip install 'mambaad[sign]'"
        ) from error


def _fingerprint(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()
