"""Sessions driven at random: by a client that keeps the rules, and by any calls."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from llmchat.realtime.engineio.events import Closed, CloseReason, Event, MessageReceived
from llmchat.realtime.engineio.packet import decode_frame
from llmchat.realtime.engineio.session import Session
from tests.support.client_machine import (
    OPTIONS,
    START,
    ClientMachine,
    closes_of,
    messages_of,
    open_by_websocket,
    open_polling,
    packets_of,
)

SETTINGS = settings(max_examples=100, stateful_step_count=40)

messages = st.one_of(st.text("ab€👍", max_size=8), st.binary(max_size=8))


class LegalConversation(RuleBasedStateMachine):
    """A client that keeps the rules: nothing is ever lost, doubled or reordered."""

    client: ClientMachine

    @initialize(websocket=st.booleans(), limit=st.integers(1, 5))
    def connect(self, websocket: bool, limit: int) -> None:
        open_client = open_by_websocket if websocket else open_polling
        self.client = open_client(replace(OPTIONS, max_packets_in_answer=limit))
        self.session = self.client.session
        self.sent: list[str | bytes] = []
        self.said: list[str | bytes] = []

    @property
    def in_time(self) -> bool:
        return self.session.is_open

    @rule(data=messages)
    def server_sends(self, data: str | bytes) -> None:
        if self.session.is_open:
            self.sent.append(data)
        self.client.events += self.session.send_message(data, self.client.now)

    @precondition(lambda self: self.in_time)
    @rule(data=messages)
    def client_sends(self, data: str | bytes) -> None:
        self.client.send(data)
        self.said.append(data)

    @rule(
        step=st.sampled_from(
            [
                "poll",
                "poll",
                "post",
                "post",
                "take_answer",
                "pump",
                "open_websocket",
                "probe",
                "take_probe_answer",
                "upgrade",
                "lose_probe",
            ]
        )
    )
    def client_acts(self, step: str) -> None:
        getattr(self.client, step)()

    @precondition(lambda self: self.in_time)
    @rule(seconds=st.floats(0, 12))
    def time_passes(self, seconds: float) -> None:
        self.client.sleep(seconds)
        self.client.settle()

    @precondition(lambda self: self.in_time)
    @rule()
    def server_closes(self) -> None:
        reason = CloseReason.FORCED_CLOSE
        self.client.events += self.session.close(reason, self.client.now)

    @invariant()
    def what_arrived_is_the_beginning_of_what_was_sent(self) -> None:
        assert self.client.received == self.sent[: len(self.client.received)]
        heard = messages_of(self.client.events)
        assert heard == self.said[: len(heard)]
        assert len(closes_of(self.client.events)) == (not self.session.is_open)

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        was_open = self.session.is_open
        self.client.settle()
        self.what_arrived_is_the_beginning_of_what_was_sent()
        assert self.client.received == self.sent
        assert self.session.is_open is was_open
        if was_open:
            assert messages_of(self.client.events) == self.said
        else:
            assert self.session.is_closed


class AnyOrder(RuleBasedStateMachine):
    """Any call with anything at any time: no exception, and the rules hold."""

    @initialize(websocket=st.booleans(), base64_only=st.booleans())
    def connect(self, websocket: bool, base64_only: bool) -> None:
        transport = "websocket" if websocket else "polling"
        self.options = replace(
            OPTIONS,
            max_payload_bytes=40,
            max_packets_in_payload=4,
            max_packets_in_answer=2,
            high_water_bytes=30,
            max_unconfirmed_bytes=60,
        )
        self.session = Session(
            "sid", transport, START, self.options, base64_only=base64_only
        )
        self.now = START
        self.ended = 0
        self.polls = False
        self.queued: list[str | bytes] = []
        self.taken: list[str | bytes] = []

    def note(self, events: list[Event]) -> None:
        for event in events:
            assert not (self.ended and isinstance(event, MessageReceived))
            self.ended += isinstance(event, Closed)

    def note_packets(self, *packets: object) -> None:
        self.taken += [p.data for p in packets if p.type.name == "MESSAGE"]  # type: ignore[attr-defined]

    frames = st.one_of(
        st.sampled_from(["1", "2", "3", "4x", "5", "6", "b", "bAQ==", "2probe", ""]),
        st.text(max_size=50),
        st.binary(max_size=50),
    )

    @rule(frame=frames)
    def frame_comes(self, frame: str | bytes) -> None:
        self.note(self.session.receive_frame(frame, self.now))

    @rule(frame=st.one_of(st.sampled_from(["2probe", "5"]), frames))
    def probe_frame_comes(self, frame: str | bytes) -> None:
        self.note(self.session.receive_probe_frame(frame, self.now))

    @rule(
        body=st.one_of(
            st.lists(
                st.sampled_from([b"4x", b"3", b"6", b"bAQ==", b"1", b"2", b""])
            ).map(b"\x1e".join),
            st.binary(max_size=50),
        )
    )
    def payload_comes(self, body: bytes) -> None:
        self.note(self.session.receive_payload(body, self.now))

    @rule()
    def poll_starts(self) -> None:
        accepted, events = self.session.start_poll()
        assert not (accepted and self.polls)
        self.polls = self.polls or accepted
        self.note(events)

    @rule()
    def poll_is_taken(self) -> None:
        body = self.session.take_poll()
        if body is not None:
            assert self.polls
            self.polls = False
            packets = packets_of(body)
            assert 0 < len(packets) <= self.options.max_packets_in_answer
            self.note_packets(*packets)

    @rule()
    def frame_is_taken(self) -> None:
        if (frame := self.session.take_frame()) is not None:
            assert self.session.transport == "websocket"
            assert isinstance(frame, str) or not self.session.base64_only
            self.note_packets(decode_frame(frame))

    @rule()
    def probe_frame_is_taken(self) -> None:
        assert self.session.take_probe_frame() in (None, "3probe")

    @rule()
    def post_starts(self) -> None:
        self.note(self.session.start_post()[1])

    @rule()
    def websocket_opens(self) -> None:
        before = self.session.transport, self.session.probe_is_open
        if self.session.open_websocket(self.now):
            assert before == ("polling", False)
            assert self.session.probe_is_open

    @rule(
        what=st.sampled_from(["lose_poll", "lose_post", "lose_websocket", "lose_probe"])
    )
    def something_is_lost(self, what: str) -> None:
        if what == "lose_poll":
            self.polls = False
        self.note(getattr(self.session, what)() or [])

    @rule(data=messages)
    def server_sends(self, data: str | bytes) -> None:
        was_open = self.session.is_open
        self.note(self.session.send_message(data, self.now))
        # Only a session that is closed for being slow rejects what it is given.
        if was_open and self.session.is_open:
            self.queued.append(data)

    @rule()
    def server_ends_it(self) -> None:
        reason = CloseReason.SERVER_SHUTTING_DOWN
        self.note(self.session.close(reason, self.now))

    @rule(seconds=st.floats(0, 50))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.note(self.session.tick(self.now))
        deadline = self.session.next_deadline
        assert deadline is None or deadline > self.now

    @invariant()
    def it_ends_once(self) -> None:
        assert self.ended == (not self.session.is_open)
        assert not (self.session.is_open and self.session.is_closed)

    @invariant()
    def it_wakes_up_until_it_is_closed(self) -> None:
        assert (self.session.next_deadline is None) is self.session.is_closed

    @invariant()
    def nothing_that_is_closed_holds_a_poll(self) -> None:
        if self.session.is_closed and self.polls:
            body = self.session.take_poll()
            assert body is not None
            self.polls = False
            self.note_packets(*packets_of(body))

    @invariant()
    def its_queue_is_bounded(self) -> None:
        session = self.session
        limit = self.options.max_unconfirmed_bytes
        assert 0 <= session.unconfirmed_bytes <= limit + 40
        assert 0 <= session.confirmed_messages <= len(self.queued)

    @invariant()
    def each_message_goes_by_one_transport_in_order(self) -> None:
        assert self.taken == self.queued[: len(self.taken)]


TestLegalConversation = LegalConversation.TestCase
TestLegalConversation.settings = SETTINGS
TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = SETTINGS
