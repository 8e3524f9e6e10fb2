"""The parts of a comparison: the load programs, the servers, and their CPU time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.loads import QUICK
from tests.support import live

HERE = Path(__file__).resolve().parent
SECRET = "live-tests-0123456789-abcdefghijklmnopqrstuvwxyz"
LITELLM = HERE / "peers" / "litellm"
LITELLM_KEY = "sk-benchmark-0123456789-abcdefghijklmn"
SERVER_CPU = "0"
LOAD_CPU = "1"
# How long a lost socket is kept. Short, because the clients drop their connections
# without closing them, so that all are kept, and memory is to be measured without them.
RECOVERY_WINDOW_S = 2 if QUICK else 5
_TICKS = os.sysconf("SC_CLK_TCK")
_PROGRAMS = {
    "client": ("client", "connection", "receive", "streams"),
    "provider": ("provider",),
}
_UVICORN = (
    *("--loop", "uvloop", "--ws", "websockets-sansio", "--host", "127.0.0.1"),
    *("--ws-per-message-deflate", "false", "--log-level", "warning"),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A server that is measured: its name, its process, its port.

    `other` is its second worker, used by every second client or for relayed sessions.
    `apis` are those that it speaks, `tokens` the file of the clients' access tokens.
    """

    name: str
    pid: int
    port: int
    other: Subject | None = None
    apis: tuple[str, ...] = ("llmchat",)
    tokens: str = "tokens"

    @property
    def cpu_s(self) -> float:
        """The CPU seconds that the server's processes have used."""
        return cpu_s(self.pid) + (self.other.cpu_s if self.other else 0)


def build(directory: Path) -> None:
    """Compile the load programs into `directory`."""
    for name, parts in _PROGRAMS.items():
        sources = [str(HERE / "load" / f"{part}.c") for part in parts]
        command = ["cc", "-O2", "-o", str(directory / name), *sources]
        subprocess.run(command, check=True)


def install_node_peer() -> None:
    """Install the packages of the peer in Node, unless they are there."""
    directory = HERE / "peers" / "node"
    if (directory / "node_modules" / "redis").exists():
        return
    command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=directory, check=True)


def install_litellm() -> None:
    """Install LiteLLM into an environment of its own, unless it is there."""
    pinned, place = LITELLM / "requirements.txt", LITELLM / ".venv"
    installed = place / "installed.txt"
    if installed.exists() and installed.read_text() == pinned.read_text():
        return
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--clear", str(place)], check=True)
    install = [*uv, "pip", "install", "-q", "--python", str(place)]
    subprocess.run([*install, "--require-hashes", "-r", str(pinned)], check=True)
    shutil.copy(pinned, installed)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process and its children have used."""
    return sum(_cpu_s_of(one) for one in (pid, *_children(pid)))


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def _cpu_s_of(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(stat[11]) + int(stat[12])) / _TICKS


def memory_kib(pid: int) -> int:
    """Return the proportional set size of a process, in KiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError("no Pss")


@contextmanager
def provider(directory: Path, cpu: str = LOAD_CPU) -> Iterator[str]:
    """Run the fast provider; yield its base URL."""
    port = live.free_port()
    with _process([str(directory / "provider"), str(port)], cpu):
        _wait_for(port)
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def product(
    directory: Path,
    seed: live.Seed,
    base_url: str,
    database_url: str,
    redis_url: str = "",
    cpu: str = SERVER_CPU,
) -> Iterator[Subject]:
    """Run this project's server as `make serve` does, on SQLite if there is no URL."""
    env = {
        "DJANGO_DEBUG": "0",
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "sk-benchmark",
        "LLMCHAT_MESSAGES_PER_MINUTE": "0",
        "LLMCHAT_RECOVERY_WINDOW_S": str(RECOVERY_WINDOW_S),
        "LLMCHAT_METRICS_ALLOW": "127.0.0.1",
    }
    if database_url:
        env["DATABASE_URL"] = database_url
    if redis_url:
        env["REDIS_URL"] = redis_url
    server = live.start_server("uvicorn", seed, directory, env=env)
    _pin(server.process.pid, cpu)
    try:
        apis = ("llmchat", "openai")
        yield Subject("llmchat", server.process.pid, server.port, apis=apis)
    finally:
        server.stop()
        if "Traceback" in server.log_text():
            print(server.log_text()[-2000:], file=sys.stderr)


@contextmanager
def peer(name: str, directory: Path, base_url: str, **extra: str) -> Iterator[Subject]:
    """Run one of the peers: node, node+db or python-socketio.

    `extra` joins its environment.
    """
    port = live.free_port()
    env = _peer_env(base_url, port) | extra
    command = ["node", str(HERE / "peers" / "node" / "server.mjs")]
    if name == "node+db":
        env["DATABASE"] = str(directory / "node.sqlite3")
    elif name == "python-socketio":
        application = "benchmarks.peers.python_socketio:application"
        command = [sys.executable, "-m", "uvicorn", application, *_UVICORN]
        command += ["--port", str(port)]
    with _process(command, SERVER_CPU, env) as process:
        _wait_for(port)
        yield Subject(name, process.pid, port)


def _peer_env(base_url: str, port: int) -> dict[str, str]:
    url = f"{base_url}/chat/completions"
    return {**os.environ, "PORT": str(port), "PROVIDER": url, "SECRET": SECRET}


@contextmanager
def litellm(directory: Path, base_url: str) -> Iterator[Subject]:
    """Run LiteLLM's proxy: one worker, which checks a key and stores nothing."""
    port = live.free_port()
    env = {
        **os.environ,
        "PROVIDER": base_url,
        "LITELLM_MASTER_KEY": LITELLM_KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # nothing is fetched from the network
        "LITELLM_LOG": "ERROR",
    }
    command = [str(LITELLM / ".venv" / "bin" / "litellm")]
    command += ["--config", str(LITELLM / "config.yaml"), "--num_workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    (directory / "litellm-tokens").write_text(f"{LITELLM_KEY}\n")
    with _process(command, SERVER_CPU, env) as process:
        _wait_for(port)
        yield Subject(
            "litellm", process.pid, port, apis=("openai",), tokens="litellm-tokens"
        )


def load(
    directory: Path,
    subject: Subject,
    *arguments: object,
    memory: bool = False,
    cpu: str = LOAD_CPU,
) -> dict[str, Any]:
    """Put a load on the server; return what the clients saw, and what it cost.

    `cpu_s` is the CPU time that the server used in the window. With `memory`,
    `memory_kib` is its growth until the window's end. That is optional because reading
    it delays the server.
    """
    line = [
        str(directory / "client"),
        str(subject.port),
        str(directory / subject.tokens),
    ]
    command = _pinned([*line, *map(str, arguments)], cpu)
    env = dict(os.environ)
    if subject.other:
        env["OTHER_PORT"] = str(subject.other.port)
    before = memory_kib(subject.pid) if memory else 0
    seen: dict[str, Any] = {}
    used: dict[str, float] = {}
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for text in process.stdout:
            if text.startswith("{"):
                seen |= json.loads(text)
                continue
            used[text.strip()] = subject.cpu_s
            if memory and text == "end\n":
                seen["memory_kib"] = memory_kib(subject.pid) - before
    if process.returncode or "seconds" not in seen:
        raise RuntimeError(f"the clients of {subject.name} failed: {arguments}")
    return {**seen, "cpu_s": used["end"] - used["begin"]}


def _pinned(command: list[str], cpu: str) -> list[str]:
    taskset = shutil.which("taskset")
    return [taskset, "-c", cpu, *command] if taskset else command


def _pin(pid: int, cpu: str) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # a thread that has just ended
            os.sched_setaffinity(int(task.name), {int(cpu)})


@contextmanager
def _process(
    command: list[str], cpu: str, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        _pinned(command, cpu),
        cwd=live.ROOT,
        env=env or dict(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(live.STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + live.START_LIMIT_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("a server did not start")
