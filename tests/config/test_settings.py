"""Which environments stop the start, and which settings result from the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import certifi
import pytest

from tests.support.live import COVERAGE_VARIABLE, start_module

LIMIT_S = 60.0
ROOT = Path(__file__).resolve().parents[2]
GOOD = {
    "PATH": os.environ["PATH"],
    "LLMCHAT_ENV_FILE": "",
    "DJANGO_SECRET_KEY": "settings-tests-0123456789-abcdefghijklmnop",
}


IMPORT = "import config.settings"

Done = subprocess.CompletedProcess[str]


def environment(**variables: str | None) -> dict[str, str]:
    measured = {COVERAGE_VARIABLE: os.environ.get(COVERAGE_VARIABLE)}
    chosen = GOOD | measured | variables
    return {name: value for name, value in chosen.items() if value is not None}


def start(*arguments: str, **variables: str | None) -> Done:
    """Start an interpreter, as users do."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )


def run(code: str, **variables: str | None) -> Done:
    """Run code in a process that has the libraries: ten times as fast as `start`."""
    arguments = ["tests.support.code", code]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        env = environment(**variables)
        status = start_module(arguments, env, output, errors=errors).wait(LIMIT_S)
        texts = [_text_of(file) for file in (output, errors)]
    return Done(arguments, status, *texts)


def _text_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def load(**variables: str | None) -> Done:
    """Import the settings."""
    return run(IMPORT, **variables)


def value_of(expression: str, **variables: str | None) -> object:
    """Return a value that the settings have with these environment variables."""
    code = (
        "import json; from config import settings as s; "
        f"print(json.dumps({expression}))"
    )
    done = run(code, **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DJANGO_SECRET_KEY", None),
        ("DJANGO_SECRET_KEY", ""),
        ("DJANGO_SECRET_KEY", "short"),
        ("DJANGO_SECRET_KEY", "a" * 64),
        ("DJANGO_DEBUG", "perhaps"),
        ("LLMCHAT_METRICS_ALLOW", "10.0.0.0/99"),
        ("LLMCHAT_METRICS_ALLOW", "*"),
        ("FORWARDED_ALLOW_IPS", "nginx"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.0.1"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1,nginx"),
        ("FORWARDED_ALLOW_IPS", "*,127.0.0.1"),
        ("ALLOWED_HOSTS", "*"),
        ("ALLOWED_HOSTS", "example.com,*"),
        ("PORT", "http"),
        ("PORT", "0"),
        ("FORCE_SCRIPT_NAME", "team/chat"),
        ("FORCE_SCRIPT_NAME", "/team//chat"),
        ("PORT", "70000"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "postgres://localhost:port/x"),
        ("DATABASE_URL", "postgres://localhost/x?pool=5"),
        ("DATABASE_URL", "postgres://localhost/x?pool=perhaps"),
        ("DATABASE_URL", "postgres://localhost/x?CONN_MAX_AGE=60"),
        ("DATABASE_URL", "postgres://localhost/x?CONN_MAX_AGE=None"),
        ("DATABASE_URL", "postgres://localhost/x?pool=0&CONN_MAX_AGE=long"),
        ("DATABASE_URL", "postgres://localhost/x?pool=0&CONN_MAX_AGE=-1"),
        ("DATABASE_URL", "postgres://localhost/x?CONN_HEALTH_CHECKS=perhaps"),
        ("DATABASE_URL", "postgres://localhost/x?sslmod=require"),
        ("DATABASE_URL", "sqlite:////tmp/x?CONN_MAX_AGE=long"),
        ("DATABASE_POOL_SIZE", "0"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "redis:/localhost"),
        ("REDIS_URL", "redis://localhost:abc/0"),
        ("REDIS_URL", "redis://localhost:99999"),
        ("REDIS_URL", "redis://localhost/zero"),
        ("REDIS_URL", "redis://cache..example.com/0"),
        ("REDIS_URL", "redis://localhost?socket_timout=1"),
        ("REDIS_URL", "redis://localhost?socket_timeout=soon"),
        ("REDIS_URL", "redis://localhost?socket_timeout"),
        ("REDIS_URL", "rediss://localhost?ssl_cert_reqs=perhaps"),
        ("REDIS_URL", "unix://"),
        ("REDIS_URL", "unix://run/redis.sock"),
        # Only one of the two clients accepts it.
        ("REDIS_URL", "rediss://localhost?ssl_validate_ocsp=true"),
        ("WEB_CONCURRENCY", "2"),
        ("CORS_ALLOWED_ORIGINS", "example.com"),
        ("CORS_ALLOWED_ORIGINS", "https://example.com/path"),
        ("CORS_ALLOWED_ORIGINS", "*"),
        ("CORS_ALLOWED_ORIGINS", "null"),
        ("CORS_ALLOWED_ORIGINS", "https://*"),
        ("CORS_ALLOWED_ORIGINS", "https://*.com"),
        ("CORS_ALLOWED_ORIGINS", "https://a.*.example.com"),
        ("CORS_ALLOWED_ORIGINS", "https://app*.example.com"),
        ("CORS_ALLOWED_ORIGINS", "capacitor://*.example.com"),
        ("CORS_ALLOWED_ORIGINS", "capacitor://"),
        ("CORS_ALLOWED_ORIGINS", "https://user@example.com"),
        ("CORS_ALLOWED_ORIGINS", "https://example.com:0"),
        ("CORS_ALLOWED_ORIGINS", "https://example.com?x"),
        ("CSRF_TRUSTED_ORIGINS", "capacitor://localhost"),
        ("CSRF_TRUSTED_ORIGINS", "example.com"),
        ("SECURE_HSTS_SECONDS", "-1"),
        ("ACCESS_TOKEN_MINUTES", "0"),
        ("LOG_LEVEL", "LOUD"),
        ("OPENAI_BASE_URL", "api.openai.com"),
        ("GEMINI_BASE_URL", "https://host:99999"),
        ("GEMINI_BASE_URL", "https://host:0"),
        ("DEEPSEEK_BASE_URL", "https://host..example"),
        ("ANTHROPIC_BASE_URL", "https://host.example/a b"),
        ("LLMCHAT_ENCRYPTION_KEYS", "nonsense"),
        ("LLMCHAT_MESSAGES_PER_MINUTE", "-1"),
        ("LLMCHAT_MAX_STREAMS_PER_USER", "0"),
        ("LLMCHAT_REGISTRATION", "2"),
        ("LLMCHAT_CONNECT_TIMEOUT_S", "0"),
        ("LLMCHAT_CONNECT_TIMEOUT_S", "nan"),
        ("LLMCHAT_TOTAL_TIMEOUT_S", "inf"),
        ("LLMCHAT_MAX_PAYLOAD_BYTES", "1e6"),
        ("LLMCHAT_ENV_FILE", "/nowhere/.env"),
        ("SSL_CERT_FILE", "/nowhere/certificates.pem"),
        ("SSL_CERT_FILE", "/"),
        ("SSL_CERT_DIR", "/nowhere"),
    ],
)
def test_a_value_that_cannot_be_read_stops_the_start_with_one_line(
    name: str, value: str | None
) -> None:
    done = load(**{name: value})

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert name in done.stderr
    assert done.stdout == ""


def test_a_command_stops_with_the_same_line() -> None:
    done = start("manage.py", "check", PORT="http")

    assert done.returncode == 1
    assert done.stderr == "llmchat: PORT must be a whole number between 1 and 65535\n"


def test_a_refused_secret_is_not_repeated() -> None:
    done = start("-c", IMPORT, LLMCHAT_ENCRYPTION_KEYS="my-secret")

    assert "my-secret" not in done.stderr


@pytest.mark.parametrize("name", ["OPENAI", "ANTHROPIC", "GEMINI", "DEEPSEEK"])
@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("https://me:my-secret@host.example/v1", "a user name or password"),
        ("https://me@host.example", "a user name or password"),
        ("https://host.example/v1?api-version=my-secret", "a query"),
        ("https://host.example/v1#my-secret", "a query"),
        ("https://host.example/v1?", "a query"),
    ],
)
def test_what_an_address_must_not_have_is_named(
    name: str, address: str, what: str
) -> None:
    done = load(**{f"{name}_BASE_URL": address})

    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"llmchat: {name}_BASE_URL has {what}: leave ")
    assert "my-secret" not in line


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    code = "from config import settings as s; print(s.PORT)"
    done = start("-c", code, PORT="")
    assert (done.stdout, done.stderr) == ("3000\n", "")


@pytest.mark.parametrize(
    ("expression", "variables", "expected"),
    [
        ("s.DEBUG", {}, False),
        ("s.DEBUG", {"DJANGO_DEBUG": "true"}, True),
        ("s.ALLOWED_HOSTS", {}, ["localhost", "127.0.0.1", "[::1]"]),
        ("s.ALLOWED_HOSTS", {"ALLOWED_HOSTS": "a.example, b.example"},
         ["a.example", "b.example"]),
        ("bool(s.SECRET_KEY)", {"DJANGO_SECRET_KEY": None, "DJANGO_DEBUG": "1"}, True),
        ("s.LLMCHAT['registration']", {}, False),
        ("s.LLMCHAT['registration']", {"DJANGO_DEBUG": "1"}, True),
        ("s.LLMCHAT['registration']",
         {"DJANGO_DEBUG": "1", "LLMCHAT_REGISTRATION": "off"}, False),
        ("s.LLMCHAT['debug_origins']", {}, False),
        ("s.LLMCHAT['cors_allowed_origins']",
         {"CORS_ALLOWED_ORIGINS": "https://App.example.com,http://localhost:5173"},
         ["https://app.example.com", "http://localhost:5173"]),
        ("s.LLMCHAT['cors_allowed_origins']",
         {"CORS_ALLOWED_ORIGINS": "capacitor://localhost,tauri://localhost, Ionic://x"},
         ["capacitor://localhost", "tauri://localhost", "ionic://x"]),
        ("s.LLMCHAT['cors_allowed_origins']",
         {"CORS_ALLOWED_ORIGINS": "https://*.example.org:443,http://a.example:80,"
          "http://[::1]:5173,https://münchen.example"},
         ["https://*.example.org", "http://a.example", "http://[::1]:5173",
          "https://xn--mnchen-3ya.example"]),
        ("s.CSRF_TRUSTED_ORIGINS", {"CSRF_TRUSTED_ORIGINS": "https://*.example.org"},
         ["https://*.example.org"]),
        ("s.LLMCHAT['gemini_base_url']", {"GEMINI_BASE_URL": "http://[::1]:8000"},
         "http://[::1]:8000"),
        ("s.LLMCHAT['gemini_base_url']", {"GEMINI_BASE_URL": "https://bücher.example"},
         "https://bücher.example"),
        ("s.LLMCHAT['openai_base_url']", {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1/"},
         "http://127.0.0.1:1/v1"),
        ("s.LLMCHAT['messages_per_minute']", {"LLMCHAT_MESSAGES_PER_MINUTE": "0"}, 0),
        ("s.SESSION_COOKIE_SECURE", {}, False),
        ("s.SESSION_COOKIE_SECURE", {"SECURE_SSL_REDIRECT": "1"}, True),
        ("s.DATABASES['default']['OPTIONS']['transaction_mode']", {}, "IMMEDIATE"),
        ("s.DATABASES['default']['OPTIONS']['pool']['max_size']",
         {"DATABASE_URL": "postgres://u:p@localhost/x", "DATABASE_POOL_SIZE": "7"}, 7),
        # Options in the address win, and the other defaults stay.
        ("[s.DATABASES['default']['OPTIONS'].get(name) for name in "
         "('options', 'connect_timeout', 'sslmode', 'keepalives_idle')]",
         {"DATABASE_URL": "postgres://u:p@localhost/x?sslmode=require"
          "&connect_timeout=9&options=-c%20lock_timeout%3D3s"},
         ["-c lock_timeout=3s", 9, "require", 10]),
        ("s.DATABASES['default']['OPTIONS'].get('options')",
         {"DATABASE_URL": "postgres://u:p@localhost/x"}, None),
        ("[s.DATABASES['default']['OPTIONS']['pool'], "
         "s.DATABASES['default']['CONN_MAX_AGE']]",
         {"DATABASE_URL": "postgres://u:p@localhost/x?pool=false&CONN_MAX_AGE=60"},
         [False, 60]),
        ("s.DATABASES['default']['CONN_MAX_AGE']",
         {"DATABASE_URL": "postgres://u:p@localhost/x?pool=0&CONN_MAX_AGE=None"}, None),
        *(
            ("[s.DATABASES['default'].get(name, s.DATABASES['default']['OPTIONS'].get("
             "name)) for name in ('DISABLE_SERVER_SIDE_CURSORS', 'CONN_HEALTH_CHECKS',"
             " 'ATOMIC_REQUESTS', 'server_side_binding')]",
             {"DATABASE_URL": f"postgres://u:p@localhost/x?server_side_binding={word}"
              f"&DISABLE_SERVER_SIDE_CURSORS={word}&conn_health_checks={word}"
              f"&ATOMIC_REQUESTS={word}"}, [value] * 4)
            for word, value in (
                ("false", False), ("False", False), ("0", False), ("off", False),
                ("true", True), ("1", True), ("yes", True),
            )
        ),
        ("s.DATABASES['default']['OPTIONS']['transaction_mode']",
         {"DATABASE_URL": "sqlite:////tmp/x?transaction_mode=DEFERRED"}, "DEFERRED"),
        ("s.DATABASES['default']['OPTIONS']['timeout']",
         {"DATABASE_URL": "sqlite:////tmp/x?timeout=5&check_same_thread=0"
          "&init_command=PRAGMA%20synchronous%3DFULL&uri=1"}, 5),
        ("s.PORT", {"SSL_CERT_FILE": __file__, "SSL_CERT_DIR": "/nowhere:/"}, 3000),
        # SQLite's connections have no pool to do without.
        ("s.DATABASES['default']['CONN_MAX_AGE']",
         {"DATABASE_URL": "sqlite:////tmp/x?CONN_MAX_AGE=None"}, None),
        ("s.DATABASES['default']['CONN_MAX_AGE']",
         {"DATABASE_URL": "sqlite:////tmp/x?CONN_MAX_AGE=60"}, 60),
        ("s.CACHES['default']['LOCATION']", {"REDIS_URL": "redis://localhost"},
         "redis://localhost"),
        *(
            ("s.CACHES['default']['LOCATION']", {"REDIS_URL": url}, url)
            for url in (
                "redis://user:p%40ss@[::1]:6379/3/?socket_timeout=1&max_connections=9",
                "rediss://cache.example.com?ssl_cert_reqs=none",
                "unix://user:pass@/run/redis.sock?db=1",
                "unix://localhost/run/redis.sock",
            )
        ),
        ("s.CHANNEL_LAYERS['default']['BACKEND']", {"REDIS_URL": "redis://localhost"},
         "channels_redis.pubsub.RedisPubSubChannelLayer"),
    ],
)  # fmt: skip
def test_the_environment_decides(
    expression: str, variables: dict[str, str | None], expected: object
) -> None:
    assert value_of(expression, **variables) == expected


def test_the_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / "some.env"
    file.write_text("PORT=4000\nHOST=192.0.2.1\n")

    values = value_of("[s.PORT, s.HOST]", LLMCHAT_ENV_FILE=str(file), PORT="5000")

    assert values == [5000, "192.0.2.1"]


@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_variable_does_not_hide_that_of_the_file(
    tmp_path: Path, blank: str
) -> None:
    file = tmp_path / "some.env"
    file.write_text("PORT=4000\nHOST=\n")

    values = value_of(
        "[s.PORT, s.HOST]", LLMCHAT_ENV_FILE=str(file), PORT=blank, HOST="192.0.2.1"
    )

    assert values == [4000, "192.0.2.1"]


def test_a_wrong_option_of_the_database_is_named() -> None:
    url = "postgres://u:my-secret@localhost/x?ATOMIC_REQUESTS=perhaps"
    done = load(DATABASE_URL=url)

    assert done.stderr == (
        "llmchat: DATABASE_URL has an option ATOMIC_REQUESTS that is neither true nor"
        " false\n"
    )


@pytest.mark.parametrize(
    ("name", "url", "problem"),
    [
        ("DATABASE_URL", "postgres://u:my-secret@localhost/x?sslmod=require",
         "has an option that libpq does not know: sslmod"),
        ("REDIS_URL", "redis://:my-secret@localhost?db=1&socket_timout=1",
         "has an option that Redis's client cannot use: socket_timout"),
        ("DATABASE_URL", "sqlite:////tmp/x?timout=5",
         "has an option that SQLite cannot use: timout"),
        # Not a single piece of an unescaped password is printed.
        ("DATABASE_URL", "postgres://u:12/x?my-secret=a&secret=b@localhost/x",
         "has an option that libpq does not know"),
        ("REDIS_URL", "redis://u:12/3?secret=b@localhost",
         "has an option that Redis's client cannot use"),
        ("REDIS_URL", "unix:///run/redis.sock?password=my&secret",
         "has an option that Redis's client cannot use"),
        ("DATABASE_URL", "postgres://h/x?user=u&password=my&secret=2",
         "has an option that libpq does not know"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named_and_no_secret(
    name: str, url: str, problem: str
) -> None:
    done = load(**{name: url})

    assert done.stderr == f"llmchat: {name} {problem}\n"


def test_options_of_postgresql_are_not_checked_without_its_client() -> None:
    """Django itself reports what is missing."""
    code = (
        "import sys; sys.modules['psycopg'] = None; from config import settings as s; "
        "print(s.DATABASES['default']['OPTIONS']['sslmode'])"
    )
    url = "postgres://localhost/x?sslmode=require"
    done = start("-c", code, DATABASE_URL=url)

    assert (done.stdout, done.stderr) == ("require\n", "")


@pytest.mark.parametrize("word", ["0", "1"])
def test_a_pool_of_sqlite_is_refused_with_advice_that_works(word: str) -> None:
    url = f"sqlite:////tmp/x?CONN_MAX_AGE=None&pool={word}"
    done = load(DATABASE_URL=url)

    assert done.stderr == (
        "llmchat: DATABASE_URL has a pool option, which only PostgreSQL supports: leave"
        " it out\n"
    )


@pytest.mark.parametrize(
    ("file", "folder", "expected"),
    [(certifi.where() + " ", " ", True), (" ", "/ ", False), (" ", " ", True)],
)
def test_authorities_are_read_as_they_were_checked(
    file: str, folder: str, expected: bool
) -> None:
    """A space after a value is not part of it, and a blank variable is not set."""
    code = (
        "import config.settings; from llmchat.providers.http.tls import tls_context; "
        "print(len(tls_context().get_ca_certs()) > 50)"
    )

    done = start("-c", code, SSL_CERT_FILE=file, SSL_CERT_DIR=folder)

    assert done.stderr == ""
    assert done.stdout == f"{expected}\n"


def test_a_hardened_deployment_passes_every_check() -> None:
    done = start(
        "manage.py",
        "check",
        "--deploy",
        "--fail-level=WARNING",
        SECURE_SSL_REDIRECT="1",
        SECURE_HSTS_SECONDS="31536000",
        DJANGO_SECRET_KEY="0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRST",
        LLMCHAT_ENCRYPTION_KEYS="c2V0dGluZ3MtdGVzdHMtc2V0dGluZ3MtdGVzdHMtMTI=",
    )

    assert done.returncode == 0, done.stderr


def test_sqlite_writes_ahead(db: None) -> None:
    from django.db import connection

    if connection.vendor != "sqlite":
        pytest.skip("the suite runs on another database")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        assert cursor.fetchone() == ("wal",)
