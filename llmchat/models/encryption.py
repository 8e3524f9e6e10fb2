"""Encryption of secrets at rest: Fernet tokens under rotating keys.

`LLMCHAT_ENCRYPTION_KEYS` lists the keys; the first encrypts, all of them decrypt.
The keys live in the environment and never in the database, so that a dump of the
database alone gives nothing away.
"""

from __future__ import annotations

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
    """Return what `encrypt` was given.

    Raises: EncryptionError when none of the configured keys fits.
    """
    try:
        return _fernet().decrypt(ciphertext.encode("ascii")).decode()
    except (InvalidToken, UnicodeEncodeError) as exc:
        raise EncryptionError("no configured key decrypts this secret") from exc


def rotate(ciphertext: str) -> str:
    """Return `ciphertext` under the first key, whichever key it was under before.

    Raises: EncryptionError when none of the configured keys fits.
    """
    return encrypt(decrypt(ciphertext))


def _fernet() -> MultiFernet:
    keys = conf.get().encryption_keys
    if not keys:
        raise EncryptionError("LLMCHAT_ENCRYPTION_KEYS is not set")
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError as exc:
        raise EncryptionError("LLMCHAT_ENCRYPTION_KEYS holds no valid key") from exc
