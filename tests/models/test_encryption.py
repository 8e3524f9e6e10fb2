"""Secrets at rest: the first key encrypts, all of them decrypt."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from llmchat.models import encryption

SECRET = "sk-canary-0123456789"
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture
def keys(settings):
    def use(*keys: str) -> None:
        settings.LLMCHAT = settings.LLMCHAT | {"encryption_keys": keys}

    return use


def test_a_secret_comes_back_and_is_nowhere_in_the_ciphertext(keys):
    keys(NEW)
    ciphertext = encryption.encrypt(SECRET)
    assert SECRET not in ciphertext
    assert encryption.decrypt(ciphertext) == SECRET


def test_a_secret_under_an_older_key_is_still_read(keys):
    keys(OLD)
    ciphertext = encryption.encrypt(SECRET)
    keys(NEW, OLD)
    assert encryption.decrypt(ciphertext) == SECRET


def test_rotation_frees_a_secret_from_the_older_key(keys):
    keys(OLD)
    ciphertext = encryption.encrypt(SECRET)
    keys(NEW, OLD)
    rotated = encryption.rotate(ciphertext)
    keys(NEW)
    assert encryption.decrypt(rotated) == SECRET
    with pytest.raises(encryption.EncryptionError):
        encryption.decrypt(ciphertext)


def test_a_secret_is_read_with_the_keys_as_they_are_now(keys):
    keys(OLD)
    ciphertext = encryption.encrypt(SECRET)
    assert encryption.decrypt(ciphertext) == SECRET
    keys(NEW)
    with pytest.raises(encryption.EncryptionError):
        encryption.decrypt(ciphertext)
    keys()
    with pytest.raises(encryption.EncryptionError, match="is not set"):
        encryption.decrypt(ciphertext)


@pytest.mark.parametrize("ciphertext", ["", "nonsense", "ключ", "gAAAA"])
def test_what_is_no_ciphertext_is_refused(keys, ciphertext):
    keys(NEW)
    with pytest.raises(encryption.EncryptionError):
        encryption.decrypt(ciphertext)


@pytest.mark.parametrize("configured", [(), ("too short",), ("ключ",)])
def test_without_a_usable_key_nothing_is_encrypted(keys, configured):
    keys(*configured)
    with pytest.raises(encryption.EncryptionError):
        encryption.encrypt(SECRET)


def test_no_error_tells_the_secret_or_the_key(keys):
    keys(NEW)
    ciphertext = encryption.encrypt(SECRET)
    keys(OLD)
    with pytest.raises(encryption.EncryptionError) as failed:
        encryption.decrypt(ciphertext)
    assert SECRET not in str(failed.value)
    assert OLD not in str(failed.value)
