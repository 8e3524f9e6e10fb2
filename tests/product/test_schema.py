"""Every route keeps what the schema says about it, whatever it is sent.

Schemathesis makes requests from the schema, valid ones and others, and compares the
responses with it: the status, the content type, every field.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartServer
from tests.support.upstream import Upstream

# It takes a dozen seconds if nothing else runs.
LIMIT_S = 240
# A cursor is a string, but not every string is one.
NOT_CHECKED = "positive_data_acceptance"


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema, changed to allow no undescribed field in a response."""
    shapes = schema["components"]["schemas"]
    # Requests may have more fields, which are ignored.
    sent = {name for name in shapes if name.endswith("Request")} | {"ChatMessage"}
    _close([shape for name, shape in shapes.items() if name not in sent])
    for methods in schema["paths"].values():
        _close([operation["responses"] for operation in methods.values()])
    return schema


def _close(part: Any) -> None:
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict):
            part["additionalProperties"] = False
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            _close(inner)


@pytest.mark.timeout(LIMIT_S + 60)
async def test_every_answer_is_as_described(
    start_server: StartServer,
    live_upstream: Upstream,
    upstream_env: dict[str, str],
    tmp_path: Path,
) -> None:
    server = start_server(
        env={
            **upstream_env,
            "DJANGO_SETTINGS_MODULE": "tests.quick_hashes",
            "LLMCHAT_MESSAGES_PER_MINUTE": "0",
            "LLMCHAT_MAX_STREAMS_PER_USER": "1000",
        }
    )
    accept = {"Accept": "application/json"}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        schema = (await client.get("/schema", headers=accept)).json()
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(strict(schema)))
    token = server.account().access

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", str(path)),
        *("--url", server.url, "--header", f"Authorization: Bearer {token}"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "4"),
        *("--exclude-checks", NOT_CHECKED, "--seed", "1", "--no-shrink"),
        *("--warnings", "off"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            report, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()

    assert process.returncode == 0, report.decode()
    operations = sum(len(methods) for methods in schema["paths"].values())
    assert f"Tested: {operations}" in report.decode()
    assert live_upstream.requests, "no request has reached a provider"
    assert "Traceback" not in server.log_text()
