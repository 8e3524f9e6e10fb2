"""Encryption of secrets at rest: Fernet tokens under rotating keys.

`LLMCHAT_ENCRYPTION_KEYS` lists the keys; the first encrypts, all of them decrypt.
The keys are kept in the environment and never in the database, so that a dump of the
database alone reveals nothing.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from llmchat import conf


class EncryptionError(Exception):
    """No usable encryption key is configured, or none of them fits the secret."""


def encrypt(secret: str) -> str:
    """Return `secret` encrypted under the first key.

    Raises: EncryptionError when no key is configured.
    """
    return _fernet().encrypt(secret.encode()).decode("ascii")


def decrypt(ciphertext: str) -> str:
    """Return the secret that `ciphertext` holds.

    Raises: EncryptionError when none of the configured keys fits.
    """
    return _decrypted(conf.get().encryption_keys, ciphertext)


@lru_cache(maxsize=256)
def _decrypted(keys: tuple[str, ...], ciphertext: str) -> str:
    try:
        return _fernet_of(keys).decrypt(ciphertext.encode("ascii")).decode()
    except (InvalidToken, UnicodeEncodeError) as exc:
        raise EncryptionError("no configured key decrypts this secret") from exc


def is_readable(ciphertext: str) -> bool:
    """Return whether one of the configured keys decrypts `ciphertext`."""
    try:
        decrypt(ciphertext)
    except EncryptionError:
        return False
    return True


def is_current(ciphertext: str) -> bool:
    """Return whether `ciphertext` is under the first key."""
    try:
        _decrypted(conf.get().encryption_keys[:1], ciphertext)
    except EncryptionError:
        return False
    return True


def rotate(ciphertext: str) -> str:
    """Return `ciphertext` under the first key, whichever key it was under before.

    Raises: EncryptionError when none of the configured keys fits.
    """
    return encrypt(decrypt(ciphertext))


def _fernet() -> MultiFernet:
    return _fernet_of(conf.get().encryption_keys)


@lru_cache(maxsize=4)
def _fernet_of(keys: tuple[str, ...]) -> MultiFernet:
    if not keys:
        raise EncryptionError("LLMCHAT_ENCRYPTION_KEYS is not set")
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError as exc:
        raise EncryptionError("LLMCHAT_ENCRYPTION_KEYS holds no valid key") from exc
