"""What passes between a session and the requests that carry it.

A request knows its session as an `Endpoint`, and the session knows the request as a
`Poll`, a `Post` or a `WebSocket`. No method of an `Endpoint` waits or returns a
verdict: its decision arrives as a call on the transport. So a stand-in for a session
on another worker only has to pass on calls in both directions.
"""

from __future__ import annotations

from typing import Protocol

from .engineio.errors import RequestError


class WebSocket(Protocol):
    """A WebSocket that frames can be written to. Only its session calls it."""

    def takes_texts(self) -> bool:
        """Return whether `write_texts` may be called now; if not, use `send_frame`."""

    def write_texts(self, frames: list[str]) -> None:
        """Write text frames immediately."""

    async def send_frame(self, frame: str | bytes) -> None:
        """Send one frame; may wait for a slow client. Raises OSError when lost."""

    async def close(self, code: int) -> None:
        """Close it in order."""

    def abort(self) -> None:
        """Drop the connection, with what is still buffered for it."""


class Poll(Protocol):
    """A GET that is held until there is something to answer."""

    def answer(self, body: bytes) -> None:
        """Answer it with packets."""

    def refuse(self, status: int) -> None:
        """Answer it with an error."""

    def deny(self, error: RequestError) -> None:
        """Answer it with an error that says why."""


class Post(Protocol):
    """A POST, announced when it begins and handed over when it is whole."""

    def accept(self) -> None:
        """Answer it: its packets were received."""

    def refuse(self, status: int) -> None:
        """Answer it with an error, whether or not its body is whole."""

    def deny(self, error: RequestError) -> None:
        """Answer it with an error that says why."""


class Endpoint(Protocol):
    """The session's side of its transports, in this process or another."""

    @property
    def sid(self) -> str:
        """Return the session's id."""

    def start_poll(self, poll: Poll) -> None:
        """Hand over a GET to answer."""

    def lose_poll(self, poll: Poll) -> None:
        """Report that a GET's connection was lost; ignored once its answer is sent."""

    def answer_sent(self, poll: Poll) -> None:
        """Report that the answer to a GET was sent."""

    def start_post(self, post: Post) -> None:
        """Announce a POST."""

    def lose_post(self, post: Post) -> None:
        """Report that a POST is illegal or lost; ignored once it is answered."""

    def receive_payload(self, post: Post, body: bytes) -> None:
        """Hand over the whole body of a POST."""

    def open_websocket(self, websocket: WebSocket) -> None:
        """Hand over an accepted WebSocket that names this session."""

    def receive_frame(self, websocket: WebSocket, frame: str | bytes) -> None:
        """Hand over a frame."""

    def lose_websocket(self, websocket: WebSocket) -> None:
        """Report that a WebSocket was lost; ignored once it is closed."""
