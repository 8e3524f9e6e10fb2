"""Handshakes that `websockets` does not parse once more end as those that it does."""

from __future__ import annotations

import gc
import logging
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from websockets.protocol import State

from llmchat.realtime import HttpOptions, Namespace, Server, SocketIO, make_consumers
from llmchat.realtime.asgi_server import takes_texts
from serving import http_protocol
from serving.websocket_protocol import WebSocketProtocol
from tests.support.peers import turns
from tests.support.written import Written, connected

PLAIN = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost:8000\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CHROME = (
    b"GET /socket.io/?EIO=4&transport=websocket&sid=a-b_c HTTP/1.1\r\n"
    b"Host: chat.example\r\nConnection: Upgrade\r\nPragma: no-cache\r\n"
    b"Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
    b"Upgrade: websocket\r\nOrigin: https://chat.example\r\n"
    b"Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: de-DE,de;q=0.9\r\nCookie: csrftoken=x; sessionid=y\r\n"
    b"Sec-WebSocket-Key: 8Jzr9ehSz0fjw2gYkPBB5g==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
)
FIREFOX = CHROME.replace(b": Upgrade", b": keep-alive, Upgrade")
SHOUTED = PLAIN.replace(b": websocket", b": WebSocket").replace(b"Key", b"KEY")
SPACED = PLAIN.replace(b"Host: ", b"X-A:\t a b \t \r\nX-B: \r\nHost:")
FOREIGN = PLAIN.replace(b"/socket.io/", b"/%C3%A4/%2e%zz//x;y#z").replace(
    b"Host: ", b"X-Name: \xe4\xff\r\nHost: "
)
PROXIED = PLAIN.replace(b"GET /", b"GET http://localhost:8000/")
BARE = PLAIN.replace(b"/socket.io/?EIO=4&transport=websocket", b"*?")


def with_(header: bytes) -> bytes:
    """Return the handshake with one more header."""
    return PLAIN[:-2] + header + b"\r\n\r\n"


# None of these is judged without `websockets`.
UNUSUAL = {
    "post": PLAIN.replace(b"GET", b"POST"),
    "HTTP/1.0": PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no key": re.sub(rb"Sec-WebSocket-Key.*\r\n", b"", PLAIN),
    "empty key": re.sub(rb"(Sec-WebSocket-Key:).*\r\n", rb"\1\r\n", PLAIN),
    "short key": PLAIN.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZQ=="),
    "long key": PLAIN.replace(b"dGhl", b"dGhldGhl"),
    "no base64": PLAIN.replace(b"dGhl", b"d-hl"),
    "stray bits": PLAIN.replace(b"ZQ==", b"ZR=="),
    "key with a space": PLAIN.replace(b"ZQ==", b"ZQ== "),
    "no version": re.sub(rb"Sec-WebSocket-Version.*\r\n", b"", PLAIN),
    "old version": PLAIN.replace(b"13", b"8"),
    "two versions": PLAIN.replace(b"13", b"13, 8"),
    "more options": PLAIN.replace(b": Upgrade", b": Upgrade, close"),
    "malformed options": PLAIN.replace(b": Upgrade", b": Upgrade, (x)"),
    "subprotocol": with_(b"Sec-WebSocket-Protocol: a, b"),
    "malformed subprotocol": with_(b"Sec-WebSocket-Protocol: a b"),
    "second key": with_(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    "second version": with_(b"Sec-WebSocket-Version: 13"),
    "second origin": with_(b"Origin: x\r\nOrigin: x"),
    "second connection": with_(b"Connection: close"),
    "second host": with_(b"Host: evil.example"),
    "second upgrade": with_(b"Upgrade: websocket"),
    "no body": with_(b"Content-Length: 0"),
    "body": with_(b"Content-Length: 5") + b"hello",
    "chunks": with_(b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "many headers": with_(b"\r\n".join(b"x-%d: y" % n for n in range(124))),
    "long header": with_(b"Cookie: a=" + b"b" * 9000),
    "long headers": with_(b"A: " + b"a" * 5000 + b"\r\nB: " + b"b" * 5000),
    "long line": PLAIN.replace(b"/socket.io/", b"/" + b"a" * 9000),
    "path": PLAIN.replace(b"/socket.io/", b"/\xe9"),
}


class Application:
    """Notes what it gets, and does to a handshake what its name says."""

    def __init__(self, name: str = "accept") -> None:
        self._answer = getattr(self, f"_{name}")
        self.scope: Any = None
        self.heard: list[Any] = []
        self.send: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.send = scope, send
        self.heard.append(await receive())
        await self._answer(send)
        while not self.heard or self.heard[-1]["type"] != "websocket.disconnect":
            self.heard.append(message := await receive())
            if message.get("text") == "leave":
                close = {"type": "websocket.close", "code": 4001, "reason": "Bye"}
                await send(close)
            elif message["type"] == "websocket.receive":
                kind = "text" if "text" in message else "bytes"
                await send({"type": "websocket.send", kind: message[kind]})

    async def _accept(self, send: Any) -> None:
        headers = [(b"X-First", b"1"), (b"x-second", b"\xe4")]
        await send({"type": "websocket.accept", "headers": headers})

    async def _accept_late(self, send: Any) -> None:
        await turns()
        await send({"type": "websocket.accept"})

    async def _accept_protocol(self, send: Any) -> None:
        await send({"type": "websocket.accept", "subprotocol": "chat"})

    async def _accept_broken(self, send: Any) -> None:
        headers = [(b"x", b"a\r\nset-cookie: b=c")]
        await send({"type": "websocket.accept", "headers": headers})

    async def _refuse(self, send: Any) -> None:
        await send({"type": "websocket.close"})

    async def _deny(self, send: Any) -> None:
        kind, headers = "websocket.http.response", [(b"content-type", b"text/x")]
        await send({"type": f"{kind}.start", "status": 401, "headers": headers})
        await send({"type": f"{kind}.body", "body": b"who ", "more_body": True})
        await send({"type": f"{kind}.body", "body": b"are you?"})

    async def _leave(self, send: Any) -> None:
        self.heard.append({"type": "websocket.disconnect"})  # so that it returns

    async def _fail(self, send: Any) -> None:
        raise RuntimeError

    async def _stay(self, send: Any) -> None:
        pass


def frame(first: int, payload: bytes) -> bytes:
    """Return a client's frame with a mask of zeros."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    return bytes([first]) + length + bytes(4) + payload


FRAMES = {
    "nothing": b"",
    "text": frame(0x81, b"one") + frame(0x82, b"two"),
    "pieces": frame(0x01, b"o") + frame(0x89, b"ping") + frame(0x80, b"ne"),
    "close": frame(0x88, b"\x03\xe8over"),
    "leave": frame(0x81, b"leave") + frame(0x88, b"\x0f\xa1"),
    "nonsense": b"\xff" * 20,
    "request": PLAIN,
    "no mask": b"\x81\x01a",
    "not UTF-8": frame(0x81, b"\xff"),
    "too long": frame(0x81, b"x" * 2000),
}
ANSWERS = [name[1:] for name in vars(Application) if re.match("_[a-z]", name)]


@pytest.fixture(params=["plain", "as uvicorn"])
def is_plain(request: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param != "plain":
        monkeypatch.setattr(http_protocol, "response_to", lambda *_: None)
    return bool(request.param == "plain")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[WebSocketProtocol]:
    """Return the WebSockets whose handshake `websockets` has not parsed."""
    found: list[WebSocketProtocol] = []
    take_over = WebSocketProtocol.take_over

    def noted(self: WebSocketProtocol, *args: Any) -> None:
        found.append(self)
        take_over(self, *args)

    monkeypatch.setattr(WebSocketProtocol, "take_over", noted)
    return found


async def played(answer: str, *sent: bytes) -> tuple[bytes, Any, list[Any], bool]:
    """Return what a connection writes and hears, and whether it has closed."""
    application = Application(answer)
    client = connected(application, ws_max_size=1000)
    for data in sent:
        client.receive(data)
        for _ in range(3):
            await turns()
    was_closed = client.has_closed
    client.close()
    for _ in range(3):
        await turns()
    written = re.sub(rb"(?i)date: [^\r]*", b"", client.text)
    return written, application.scope, application.heard, was_closed


async def both(
    monkeypatch: pytest.MonkeyPatch, answer: str, *sent: bytes
) -> tuple[Any, Any]:
    """Return what happens without `websockets` judging, and with it."""
    plain = await played(answer, *sent)
    with monkeypatch.context() as patched:
        patched.setattr(http_protocol, "response_to", lambda *_: None)
        return plain, await played(answer, *sent)


@pytest.mark.parametrize(
    "handshake",
    [PLAIN, CHROME, FIREFOX, SHOUTED, SPACED, FOREIGN, PROXIED, BARE],
)
@pytest.mark.parametrize("answer", ["accept", "accept_protocol", "deny"])
async def test_a_plain_one_is_answered_and_described_as_by_uvicorn(
    monkeypatch: pytest.MonkeyPatch,
    taken: list[WebSocketProtocol],
    handshake: bytes,
    answer: str,
) -> None:
    plain, usual = await both(monkeypatch, answer, handshake)

    assert len(taken) == 1
    assert plain == usual
    written, scope, _, _ = plain
    assert written.startswith(b"HTTP/1.1 401" if answer == "deny" else b"HTTP/1.1 101")
    assert scope["type"] == "websocket"


async def test_the_answer_is_that_of_the_specification() -> None:
    """RFC 6455, 1.3."""
    written, *_ = await played("accept", PLAIN)

    assert written == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"x-first: 1\r\nx-second: \xe4\r\n\r\n"
    )


@pytest.mark.parametrize("handshake", UNUSUAL.values(), ids=UNUSUAL)
async def test_one_that_is_not_plain_is_left_to_websockets(
    taken: list[WebSocketProtocol], handshake: bytes
) -> None:
    await played("accept", handshake)

    assert taken == []


async def test_one_is_left_to_websockets_if_extensions_are_negotiated(
    taken: list[WebSocketProtocol],
) -> None:
    application = Application()
    client = connected(application)
    client.protocol.config.ws_per_message_deflate = True
    client.receive(CHROME)
    await turns()

    assert taken == []
    assert b"Sec-WebSocket-Extensions: permessage-deflate" in client.text
    client.close()
    await turns()


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("answer", ANSWERS)
async def test_all_that_follows_is_as_behind_any_handshake(
    monkeypatch: pytest.MonkeyPatch,
    taken: list[WebSocketProtocol],
    answer: str,
    frames: bytes,
) -> None:
    plain, usual = await both(monkeypatch, answer, PLAIN, frames)

    assert len(taken) == 1
    assert plain == usual


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
async def test_what_comes_before_the_accept_is_as_behind_any_handshake(
    monkeypatch: pytest.MonkeyPatch, frames: bytes
) -> None:
    async def early(*_: bytes) -> Any:
        application = Application("stay")
        client = connected(application, ws_max_size=1000)
        client.receive(PLAIN)
        await turns()
        client.receive(frames)
        await turns()
        before = client.text
        if not client.has_closed:
            await application.send({"type": "websocket.accept"})
        await turns()
        client.close()
        await turns()
        return before, client.text, application.heard

    plain = await early()
    monkeypatch.setattr(http_protocol, "response_to", lambda *_: None)

    assert plain == await early()


async def test_what_comes_in_one_piece_with_one_is_no_part_of_the_socket(
    is_plain: bool,
) -> None:
    """A client may send nothing before it is accepted."""
    _, _, heard, _ = await played("accept", PLAIN + FRAMES["text"])

    assert [message["type"] for message in heard] == [
        "websocket.connect",
        "websocket.disconnect",
    ]


async def test_texts_are_written_directly_only_once_it_is_accepted(
    is_plain: bool,
) -> None:
    application = Application("stay")
    client = connected(application)
    client.receive(PLAIN)
    await turns()
    assert client.protocol.conn.state is State.CONNECTING
    assert not takes_texts(client.protocol)

    await application.send({"type": "websocket.accept"})

    assert takes_texts(client.protocol)
    client.protocol.pause_writing()
    assert not takes_texts(client.protocol)
    client.close()
    await turns()


async def test_a_stop_before_it_is_accepted_refuses_it(is_plain: bool) -> None:
    client = connected(Application("stay"))
    client.receive(PLAIN)
    await turns()

    client.protocol.shutdown()
    await turns()

    assert client.text.startswith(b"HTTP/1.1 500 ")
    assert client.has_closed


async def test_what_is_no_utf8_before_the_accept_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, is_plain: bool
) -> None:
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "disabled", True)
    application = Application("stay")
    client = connected(application)
    client.receive(PLAIN)
    await turns()

    client.protocol.data_received(b"\x81\x81\0\0\0\0\xff")
    await turns()

    assert client.has_closed
    assert client.pieces == []
    assert application.heard[-1] == {"type": "websocket.disconnect", "code": 1006}


def opening() -> Callable[[], Written]:
    """Return what opens a session on a connection of its own."""
    _, consumer = make_consumers(Server(SocketIO([Namespace()])), HttpOptions())
    application = consumer.as_asgi()

    def connection() -> Written:
        client = connected(application)
        client.receive(CHROME.replace(b"&sid=a-b_c", b""))
        return client

    return connection


async def test_nothing_of_one_is_kept(is_plain: bool) -> None:
    client = opening()()
    await turns()

    assert client.text.startswith(b"HTTP/1.1 101 ")
    assert not client.protocol.scope["headers"]
    assert not client.protocol.response.headers
    assert hasattr(client.protocol, "request") is not is_plain
    client.close()
    await turns()


async def test_an_idle_socket_takes_no_more_memory_behind_a_plain_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await memory_of_sockets()  # with what only the first of the process make
    plain, parsed = [], []
    for _ in range(3):
        plain.append(await memory_of_sockets())
        with monkeypatch.context() as patch:
            patch.setattr(http_protocol, "response_to", lambda *_: None)
            parsed.append(await memory_of_sockets())

    # What else the process allocates meanwhile is counted as well, so the least counts.
    assert min(plain) <= 1.02 * min(parsed)


async def memory_of_sockets() -> int:
    """Return the bytes that twenty idle sockets take."""
    connection = opening()
    first = connection()  # with what is made only once
    await turns()
    first.close()
    await turns()
    gc.collect()
    tracemalloc.start()
    clients = [connection() for _ in range(20)]
    await turns()
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for client in clients:
        client.close()
    await turns()
    return size
