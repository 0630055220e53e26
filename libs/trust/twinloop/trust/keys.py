"""Ed25519 keys (RFC 8032): one that signs, and the public ones that are believed.

Private keys are PKCS #8, public keys SubjectPublicKeyInfo, both PEM. A key's id is the beginning of the
SHA-256 of its public bytes: whoever holds the key can tell its id, and nobody chooses it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from twinloop.trust.errors import Forged, KeyUnusable

_ID_DIGITS: Final = 16


def key_id(key: Ed25519PublicKey) -> str:
    """16 hexadecimal digits."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:_ID_DIGITS]


class Signer:
    """Holds a private key. Never printed."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.key_id = key_id(key.public_key())

    @classmethod
    def generate(cls) -> Self:
        """A new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Self:
        """From a PEM file. Raises `KeyUnusable`."""
        key = _loaded(path, private=True)
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyUnusable(f"{path} holds no Ed25519 private key")
        return cls(key)

    def sign(self, data: bytes) -> str:
        """The signature over `data`, base64."""
        return base64.b64encode(self._key.sign(data)).decode()

    @property
    def public(self) -> Ed25519PublicKey:
        """The key that others verify with."""
        return self._key.public_key()

    def private_pem(self) -> bytes:
        """For the one file that holds it, which only its owner may read."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def public_pem(self) -> bytes:
        """For everyone who verifies."""
        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class Trusted:
    """Public keys that are believed."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys: Mapping[str, Ed25519PublicKey] = {key_id(key): key for key in keys}

    @classmethod
    def load(cls, path: Path) -> Self:
        """From a PEM file, or every `*.pem` of a folder. Raises `KeyUnusable`, also when there is none."""
        files = sorted(path.glob("*.pem")) if path.is_dir() else [path]
        keys = []
        for file in files:
            key = _loaded(file, private=False)
            if not isinstance(key, Ed25519PublicKey):
                raise KeyUnusable(f"{file} holds no Ed25519 public key")
            keys.append(key)
        if not keys:
            raise KeyUnusable(f"{path} holds no public key: nothing would be believed")
        return cls(keys)

    def verify(self, data: bytes, signature: str, by: str) -> None:
        """Raises `Forged` unless the key with the id `by` signed exactly `data`."""
        key = self._keys.get(by)
        if key is None:
            raise Forged(f"nobody trusted has the key {by!r}")
        try:
            key.verify(base64.b64decode(signature, validate=True), data)
        except (InvalidSignature, ValueError) as error:
            raise Forged(f"the signature is not that of key {by}") from error


def _loaded(path: Path, *, private: bool) -> object:
    try:
        pem = path.read_bytes()
        return load_pem_private_key(pem, None) if private else load_pem_public_key(pem)
    except (OSError, ValueError, TypeError) as error:
        raise KeyUnusable(f"{path} cannot be used as a key: {error}") from error
