"""The system checks, and the demo account for a first look."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from accounts.models import User
from llmchat import checks
from llmchat.models import Provider, ProviderKey

ROOT = Path(__file__).resolve().parents[2]


def ids(messages: list[Any]) -> list[str]:
    return [message.id for message in messages]


def configure(settings: Any, **values: object) -> None:
    settings.LLMCHAT = settings.LLMCHAT | values


def test_a_good_encryption_key_passes() -> None:
    assert checks.check_encryption_keys(None) == []


def test_no_encryption_key_is_an_error_but_in_debug(settings: Any) -> None:
    configure(settings, encryption_keys=())

    assert ids(checks.check_encryption_keys(None)) == ["llmchat.E001"]
    settings.DEBUG = True
    assert checks.check_encryption_keys(None) == []


def test_each_key_that_is_none_is_named_by_its_place(settings: Any) -> None:
    good = Fernet.generate_key().decode()
    configure(settings, encryption_keys=(good, "secret-nonsense"))

    (message,) = checks.check_encryption_keys(None)

    assert message.id == "llmchat.E002"
    assert "key 2" in message.msg
    assert "secret-nonsense" not in message.msg


def test_a_time_out_beyond_the_total_is_an_error(settings: Any) -> None:
    assert checks.check_timeouts(None) == []
    configure(settings, idle_timeout_s=601.0)

    (message,) = checks.check_timeouts(None)

    assert message.id == "llmchat.E003"
    assert "LLMCHAT_IDLE_TIMEOUT_S" in message.msg


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("wrong", "ident"),
    [
        ({"encryption_keys": ()}, "E001"),
        ({"encryption_keys": ("nonsense",)}, "E002"),
        ({"idle_timeout_s": 601.0}, "E003"),
    ],
)
def test_an_error_stops_check_and_no_other_command(
    settings: Any, wrong: dict[str, object], ident: str
) -> None:
    """Everyday commands still run, and so do those that help to fix the error."""
    configure(settings, **wrong)

    with pytest.raises(SystemCheckError, match=rf"llmchat\.{ident}"):
        call_command("check", stderr=StringIO())
    for command in (
        *(["flushexpiredtokens"], ["clearsessions"], ["create_demo"]),
        ["prune", "--older-than=90d"],
    ):
        call_command(*command, skip_checks=False, stdout=StringIO())


@pytest.mark.django_db
def test_errors_are_told_with_their_tag(settings: Any) -> None:
    configure(settings, encryption_keys=(), idle_timeout_s=601.0)

    with pytest.raises(SystemCheckError) as told:
        call_command("check", tags=["security"])
    assert "llmchat.E001" in str(told.value)
    assert "llmchat.E003" not in str(told.value)


@pytest.mark.django_db
def test_that_no_key_can_be_read_is_told_with_its_tag(settings: Any) -> None:
    key = ProviderKey(provider=Provider.objects.create(name="with one"))
    key.encrypted_value = "nonsense"
    key.save()

    with pytest.raises(SystemCheckError, match=r"llmchat\.E004"):
        call_command("check", tags=["security"], stderr=StringIO())
    call_command("check", tags=["compatibility"], stderr=StringIO())


def test_debug_beside_https_is_a_warning(settings: Any) -> None:
    settings.SECURE_HSTS_SECONDS = 1
    assert checks.check_debug(None) == []
    settings.DEBUG = True

    assert ids(checks.check_debug(None)) == ["llmchat.W001"]


# --- create_demo -----------------------------------------------------------------


def create_demo() -> str:
    output = StringIO()
    call_command("create_demo", stdout=output)
    return output.getvalue()


@pytest.mark.django_db
def test_an_empty_database_gets_a_demo_with_a_random_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LLMCHAT_DEMO_PASSWORD", raising=False)

    password = create_demo().split()[-1]

    demo = User.objects.get(username="demo")
    assert demo.check_password(password)
    assert demo.is_superuser


@pytest.mark.django_db
def test_the_password_of_the_environment_is_used_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLMCHAT_DEMO_PASSWORD", "opensesame-42")

    output = create_demo()

    assert User.objects.get().check_password("opensesame-42")
    assert "opensesame-42" not in output


@pytest.mark.django_db
def test_a_database_with_an_account_gets_no_demo() -> None:
    User.objects.create_user("ada")

    assert create_demo() == ""
    assert not User.objects.filter(username="demo").exists()


# --- .env ------------------------------------------------------------------------


def test_a_fresh_env_file_has_good_secrets_and_is_never_overwritten(
    tmp_path: Path,
) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "write_env.py")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    file = tmp_path / ".env"
    first = file.read_text()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    assert file.read_text() == first
    assert file.stat().st_mode & 0o077 == 0
    values = dict(line.split("=", 1) for line in first.splitlines()[1:])
    assert len(values["DJANGO_SECRET_KEY"]) >= 50
    Fernet(values["LLMCHAT_ENCRYPTION_KEYS"])
