"""Connections driven at random, alone and joined to sessions."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from llmchat.realtime.socketio.connection import (
    Connection,
    Limits,
    encode_ack,
    encode_event,
)
from llmchat.realtime.socketio.errors import ProtocolError
from llmchat.realtime.socketio.events import (
    AckReceived,
    ConnectRequested,
    DisconnectReceived,
    Event,
    EventReceived,
)
from llmchat.realtime.socketio.packet import RESERVED_EVENTS
from tests.support.client_machine import (
    ClientMachine,
    messages_of,
    open_by_websocket,
    open_polling,
    open_upgraded,
)

NOW = 1000.0
LIMITS = Limits(
    connect_timeout_s=45,
    binary_timeout_s=30,
    max_attachments=2,
    max_attachment_bytes=16,
    max_namespaces=3,
)

namespaces = st.sampled_from(["/", "/a", "/b", "/c", "/d"])
prefixes = namespaces.map(lambda name: "" if name == "/" else f"{name},")
contents = st.sampled_from(
    [
        "",
        "{}",
        "[]",
        '["x"]',
        '["x",{"_placeholder":true,"num":0}]',
        '["x",{"_placeholder":true,"num":1}]',
        '[{"_placeholder":true,"num":0}]',
        '["connect"]',
        "[1e999]",
        '{"token":NaN}',
        '["x"',
    ]
)
likely = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["0", "1", "2", "2", "2", "3", "4", "51-", "52-", "50-", "61-"]),
    prefixes,
    st.sampled_from(["", "", "0", "7"]),
    contents,
)


class AnyOrder(RuleBasedStateMachine):
    """Any message and any call of the owner: a meaning, or the one declared error."""

    @initialize()
    def connect(self) -> None:
        self.connection = Connection(NOW, LIMITS)
        self.now = NOW
        self.asked: set[str] = set()
        self.joined: set[str] = set()
        self.failed = False

    @rule(message=st.one_of(likely, likely, st.text(), st.binary(max_size=10)))
    def message_comes(self, message: str | bytes) -> None:
        try:
            event = self.connection.receive_message(message, self.now)
        except ProtocolError:
            self.failed = True
            return
        assert not self.failed
        self.note(event)

    def note(self, event: Event | None) -> None:
        match event:
            case ConnectRequested(namespace, auth):
                assert namespace not in self.asked | self.joined
                assert isinstance(auth, dict)
                self.asked.add(namespace)
            case EventReceived(namespace, name, args):
                assert namespace in self.joined
                assert name not in RESERVED_EVENTS
                assert isinstance(args, tuple)
            case AckReceived(namespace):
                assert namespace in self.joined
            case DisconnectReceived(namespace):
                self.joined.remove(namespace)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), refused=st.booleans())
    def owner_answers(self, data: st.DataObject, refused: bool) -> None:
        namespace = data.draw(st.sampled_from(sorted(self.asked)))
        self.asked.remove(namespace)
        if refused:
            assert self.connection.refuse(namespace, "no").startswith("4")
        else:
            assert self.connection.accept(namespace, "id").startswith("0")
            self.joined.add(namespace)

    @precondition(lambda self: self.joined)
    @rule(data=st.data())
    def owner_expels(self, data: st.DataObject) -> None:
        namespace = data.draw(st.sampled_from(sorted(self.joined)))
        self.joined.remove(namespace)
        assert self.connection.expel(namespace).startswith("1")

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        try:
            self.connection.tick(self.now)
        except ProtocolError:
            self.failed = True
        deadline = self.connection.next_deadline
        assert deadline is None or deadline > self.now

    @invariant()
    def it_knows_who_has_joined(self) -> None:
        members = self.connection.hand_over()
        assert {name for name, joined in members.items() if joined} == self.joined

    @invariant()
    def a_failed_one_waits_for_nothing(self) -> None:
        assert not self.failed or self.connection.next_deadline is None


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=40)


# Events on a session, cut anywhere.

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=6,
)
sent_events = st.lists(
    st.tuples(
        st.text(max_size=5).filter(lambda name: name not in RESERVED_EVENTS),
        st.lists(values, max_size=3),
        st.none() | st.integers(0, 10**15 - 1),
    ),
    max_size=6,
)
MANY = Limits(max_attachments=100)


def joined() -> Connection:
    connection = Connection(NOW, MANY)
    connection.receive_message("0", NOW)
    connection.accept("/", "id")
    return connection


def heard(connection: Connection, messages: list[str | bytes]) -> list[Event]:
    events = (connection.receive_message(message, NOW) for message in messages)
    return [event for event in events if event is not None]


@given(sent_events, st.sampled_from([open_polling, open_by_websocket, open_upgraded]))
def test_events_pass_from_end_to_end(sent: Any, open_client: Any) -> None:
    client: ClientMachine = open_client()
    client.send(*(m for event in sent for m in encode_event("/", *event)))
    client.settle()

    assert heard(joined(), messages_of(client.events)) == [
        EventReceived("/", name, tuple(args), ack_id) for name, args, ack_id in sent
    ]


@given(st.lists(values, max_size=4), st.integers(0, 10**15 - 1))
def test_acknowledgements_pass_from_end_to_end(args: Any, ack_id: int) -> None:
    client = open_polling()
    for message in encode_ack("/", ack_id, args):
        client.session.send_message(message, client.now)
    client.settle()

    assert heard(joined(), client.received) == [AckReceived("/", ack_id, tuple(args))]


@given(sent_events, st.data())
def test_a_stream_that_ends_between_messages_is_a_beginning(
    sent: Any, data: st.DataObject
) -> None:
    messages = [m for event in sent for m in encode_event("/", *event)]
    cut = data.draw(st.integers(0, len(messages)))

    events = heard(joined(), messages[:cut])

    whole = [EventReceived("/", n, tuple(a), i) for n, a, i in sent]
    assert events == whole[: len(events)]


STREAM = (
    '42["a",1,"€",{"b":[true,null]}]\x1e42/x,12["c"]\x1e'
    '451-["d",{"_placeholder":true,"num":0}]\x1ebAQIDBA==\x1e3\x1e4313["👍"]'
).encode()


def meaning(body: bytes) -> list[Event]:
    """Return what a body means to a new connection, up to the first violation."""
    client = open_polling()
    connection = joined()
    connection.receive_message("0/x", NOW)
    connection.accept("/x", "id")
    client.session.start_post()
    events: list[Event] = []
    received = client.session.receive_payload(body, client.now)
    while client.session.payload_waits:
        received += client.session.receive_more(client.now)
    for message in messages_of(received):
        try:
            event = connection.receive_message(message, NOW)
        except ProtocolError:
            break
        if event is not None:
            events.append(event)
    return events


def test_a_body_cut_at_any_byte_means_no_more_than_it_says() -> None:
    whole = meaning(STREAM)
    assert len(whole) == 4

    parts = {cut: meaning(STREAM[:cut]) for cut in range(len(STREAM))}

    # Cut base64 can still be base64: nothing else here lacks a mark of its end.
    for cut, part in parts.items():
        if STREAM[:cut].rpartition(b"\x1e")[2].startswith(b"b"):
            parts[cut] = part[:2]
    wrong = {cut: part for cut, part in parts.items() if part != whole[: len(part)]}
    assert wrong == {}
