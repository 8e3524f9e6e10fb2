"""Encrypted connections: which certificates are trusted, and how they are closed."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from llmchat.providers import retry
from llmchat.providers.http import dialer, library, tls
from llmchat.providers.transport import Request, UnreachableError
from llmchat.providers.types import Delta
from tests.emulator.driver import NewTransport, lab
from tests.emulator.scenarios import SHORT
from tests.support.certificates import self_signed, server_context

BOTH_WAYS = True
BOTH_LOOPS = True


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return server_context(certificate)


@pytest.fixture
def _trusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    for module in (dialer, library):
        monkeypatch.setattr(module, "tls_context", lambda: context)


async def test_a_certificate_that_nobody_signed_is_not_believed(
    server_tls: ssl.SSLContext,
    new_transport: NewTransport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "_BASE_DELAY_S", 0.01)
    async with lab(tls=server_tls, new_transport=new_transport) as setting:
        outcome = await setting.ask("openai", "short")
        assert setting.server.requests == []
    assert outcome.code == "provider_unavailable"


@pytest.mark.usefixtures("_trusted")
async def test_an_answer_comes_over_tls(
    server_tls: ssl.SSLContext, new_transport: NewTransport
) -> None:
    async with lab(tls=server_tls, new_transport=new_transport) as setting:
        outcome = await setting.ask("openai", "short")
    assert outcome.text == SHORT.text


@pytest.mark.usefixtures("_trusted")
async def test_a_stream_over_tls_given_up_is_hung_up_at_once(
    server_tls: ssl.SSLContext, new_transport: NewTransport
) -> None:
    async with lab(tls=server_tls, new_transport=new_transport) as setting:
        server = setting.server
        stream = setting.stream("openai", "endless")
        assert isinstance(await anext(stream), Delta)
        since = asyncio.get_running_loop().time()
        await stream.aclose()
        await server.until(lambda: not server.open_requests)
        assert server.requests[0].hung_up
        assert server.requests[0].ended_at - since < 1


@pytest.mark.usefixtures("_trusted")
async def test_a_certificate_for_another_name_is_not_believed(
    server_tls: ssl.SSLContext,
    new_transport: NewTransport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "_BASE_DELAY_S", 0.01)
    async with lab(tls=server_tls, new_transport=new_transport) as setting:
        url = setting.server.url.replace("127.0.0.1", "localhost")
        provider = setting.provider("openai", base_url=url)
        outcome = await setting.ask("openai", "short", provider=provider)
        assert setting.server.requests == []
    assert outcome.code == "provider_unavailable"


async def test_the_name_of_the_server_is_told(
    server_tls: ssl.SSLContext, new_transport: NewTransport
) -> None:
    names: list[str] = []
    server_tls.sni_callback = lambda _, name, __: names.append(name)
    async with lab(tls=server_tls, new_transport=new_transport) as setting:
        url = setting.server.url.replace("127.0.0.1", "localhost")
        http = new_transport(max_connections=1)
        with pytest.raises(UnreachableError):
            await http.send(Request(url, {}, b"{}", 5.0))
        await http.aclose()
    assert set(names) == {"localhost"}


def test_authorities_may_be_given_by_the_environment(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    believed = tls.tls_context.__wrapped__().cert_store_stats()
    assert believed["x509"] == 1


def test_authorities_are_shipped_and_names_are_checked() -> None:
    context = tls.tls_context()
    assert len(context.get_ca_certs()) > 50
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
