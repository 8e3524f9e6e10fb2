"""A connection and its namespaces."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest

from llmchat.realtime.socketio.connection import (
    Connection,
    Limits,
    encode_ack,
    encode_event,
)
from llmchat.realtime.socketio.errors import ProtocolError, ReservedEventError
from llmchat.realtime.socketio.events import (
    AckReceived,
    ConnectRequested,
    DisconnectReceived,
    EventReceived,
)
from llmchat.realtime.socketio.packet import decode
from llmchat.realtime.socketio.strict_json import size_of
from tests.support.growth import grows_too_fast

NOW = 1000.0
LIMITS = Limits(
    connect_timeout_s=45,
    binary_timeout_s=30,
    max_attachments=3,
    max_attachment_bytes=10,
)

BINARY = '52-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'


def joined(*namespaces: str, limits: Limits = LIMITS) -> Connection:
    connection = Connection(NOW, limits)
    for namespace in namespaces or ("/",):
        suffix = "" if namespace == "/" else namespace
        connection.receive_message(f"0{suffix}", NOW)
        connection.accept(namespace, "id")
    return connection


# Joining.


@pytest.mark.parametrize(
    ("message", "namespace", "auth"),
    [
        ("0", "/", {}),
        ("0{}", "/", {}),
        ('0{"token":"123"}', "/", {"token": "123"}),
        ("0/custom,", "/custom", {}),
        ("0/custom", "/custom", {}),
        ('0/custom,{"token":"abc"}', "/custom", {"token": "abc"}),
    ],
)
def test_a_client_asks_for_a_namespace(
    message: str, namespace: str, auth: dict[str, object]
) -> None:
    connection = Connection(NOW, LIMITS)

    asked = connection.receive_message(message, NOW)

    assert asked == ConnectRequested(namespace, auth)
    assert connection.hand_over() == {namespace: False}


def test_it_is_let_in() -> None:
    connection = Connection(NOW, LIMITS)
    connection.receive_message("0", NOW)
    connection.receive_message("0/a", NOW)

    assert connection.accept("/", "x1") == '0{"sid":"x1"}'
    assert connection.accept("/a", "x2", "p2") == '0/a,{"sid":"x2","pid":"p2"}'
    assert connection.hand_over() == {"/": True, "/a": True}


def test_it_is_refused_and_may_ask_again() -> None:
    connection = Connection(NOW, LIMITS)
    connection.receive_message("0", NOW)
    connection.receive_message("0/random", NOW)

    assert connection.refuse("/random", "Invalid namespace") == (
        '4/random,{"message":"Invalid namespace"}'
    )
    assert connection.refuse("/", "no", {"code": "E", "n": 1}) == (
        '4{"message":"no","data":{"code":"E","n":1}}'
    )
    assert connection.hand_over() == {}
    assert connection.receive_message('0{"token":"x"}', NOW) == (
        ConnectRequested("/", {"token": "x"})
    )


@pytest.mark.parametrize("data", [0, "", False, [], {}])
def test_a_refusal_may_carry_any_json(data: object) -> None:
    connection = Connection(NOW, LIMITS)

    assert '"data":' in connection.refuse("/", "no", data)


@pytest.mark.parametrize("answered", [False, True])
def test_asking_twice_is_a_violation(answered: bool) -> None:
    connection = Connection(NOW, LIMITS)
    connection.receive_message("0", NOW)
    if answered:
        connection.accept("/", "id")

    with pytest.raises(ProtocolError):
        connection.receive_message("0", NOW)


# A possible name of a namespace: it precedes the JSON, but is not JSON itself.
QUOTED = '/"' + '\\"' * 100

AUTH = {
    "text": '0{"token":"%s"}' % ("x" * 900),
    "lists": '0{"a":[' + ",".join(["[]"] * 10) + "]}",
    "dictionaries": "0" + '{"a":' * 5 + "1" + "}" * 5,
    "behind a quote": f'0{QUOTED},{{"a":[' + ",".join(["[]"] * 10) + "]}",
}


@pytest.mark.parametrize("text", AUTH.values(), ids=AUTH)
def test_only_so_much_is_kept_of_a_connect(text: str) -> None:
    """The limit is for the memory that it takes: short JSON can become large."""
    size = decode(text).size
    connection = Connection(NOW, replace(LIMITS, max_auth_bytes=size))
    assert isinstance(connection.receive_message(text, NOW), ConnectRequested)

    connection = Connection(NOW, replace(LIMITS, max_auth_bytes=1_000))
    with pytest.raises(ProtocolError, match="CONNECT"):
        connection.receive_message(text, NOW)


@pytest.mark.parametrize(
    "text",
    [
        *(
            f'["x",[{",".join([value] * 10_000)}]]'
            for value in ("[]", "{}", '{"a":1}', "[1]", "1.5", '""', '"ab"', r'"\""')
        ),
        json.dumps(["x", "😀" + "é" * 100_000], ensure_ascii=False),
    ],
    ids=lambda text: text[:12],
)
def test_a_size_is_about_what_is_taken_of_memory(text: str) -> None:
    tracemalloc.start()
    try:
        packet = decode(f"2{text}")
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert packet.data
    # Some values take less than others of their kind: Python has them only once.
    assert taken / 2 < size_of(text) < 9 * taken


def test_a_namespace_of_quotes_costs_no_more_than_its_length() -> None:
    def receive(text: str) -> None:
        with pytest.raises(ProtocolError):
            Connection(NOW, LIMITS).receive_message(text, NOW)

    assert not grows_too_fast(receive, ('2/"', '\\"', ",[1]"), size=4_000)


@pytest.mark.parametrize("said", ["a,b;1,2;[3],{4}\n", '[{"a":[1,2,{}]},"\\"]'])
def test_what_is_said_counts_as_much_as_it_is_long(said: str) -> None:
    text = json.dumps(["x", said * 10_000])
    assert size_of(text) < len(text) + 1_000


def test_a_connection_has_only_so_many_namespaces() -> None:
    connection = Connection(NOW, replace(LIMITS, max_namespaces=2))
    connection.receive_message("0/a", NOW)
    connection.receive_message("0/b", NOW)
    connection.refuse("/b", "no")
    connection.receive_message("0/c", NOW)

    with pytest.raises(ProtocolError):
        connection.receive_message("0/d", NOW)


def test_a_client_must_join_in_time() -> None:
    connection = Connection(NOW, LIMITS)
    assert connection.next_deadline == NOW + 45
    connection.tick(NOW + 44.999)

    with pytest.raises(ProtocolError):
        connection.tick(NOW + 45)
    assert connection.next_deadline is None


def test_a_refusal_does_not_count_as_joining() -> None:
    connection = Connection(NOW, LIMITS)
    connection.receive_message("0", NOW)
    connection.refuse("/", "no")

    with pytest.raises(ProtocolError):
        connection.tick(NOW + 45)


def test_after_joining_once_there_is_no_hurry() -> None:
    connection = joined()
    connection.receive_message("1", NOW)

    assert connection.next_deadline is None
    connection.tick(NOW + 1000)


# Events and acknowledgements.


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ('2["x"]', EventReceived("/", "x", (), None)),
        (
            '2["x",1,"2",{"3":[true]}]',
            EventReceived("/", "x", (1, "2", {"3": [True]}), None),
        ),
        ('20["x",[1]]', EventReceived("/", "x", ([1],), 0)),
        ('2/a,456["x"]', EventReceived("/a", "x", (), 456)),
        ("2[7]", EventReceived("/", 7, (), None)),
        ("30[]", AckReceived("/", 0, ())),
        ("3/a,7[[1,2]]", AckReceived("/a", 7, ([1, 2],))),
        ("1", DisconnectReceived("/")),
        ("1/a", DisconnectReceived("/a")),
        ('50-["x"]', EventReceived("/", "x", (), None)),
        ("60-1[]", AckReceived("/", 1, ())),
    ],
)
def test_what_a_message_means(message: str, event: object) -> None:
    assert joined("/", "/a").receive_message(message, NOW) == event


def test_namespaces_are_left_one_by_one() -> None:
    connection = joined("/", "/a")

    connection.receive_message("1/a", NOW)

    assert connection.hand_over() == {"/": True}
    assert connection.receive_message('2["x"]', NOW) is not None
    assert connection.receive_message("0/a", NOW) == ConnectRequested("/a", {})


Start = Callable[[], Connection]


def unasked() -> Connection:
    return joined("/other")


def asked() -> Connection:
    connection = joined("/other")
    connection.receive_message("0", NOW)
    return connection


def refused() -> Connection:
    connection = asked()
    connection.refuse("/", "no")
    return connection


def left() -> Connection:
    connection = joined("/", "/other")
    connection.receive_message("1", NOW)
    return connection


@pytest.mark.parametrize("start", [unasked, asked, refused, left])
@pytest.mark.parametrize("message", ['2["x"]', "30[]", "1", '50-["x"]'])
def test_a_packet_for_a_namespace_that_is_not_joined_is_a_violation(
    start: Start, message: str
) -> None:
    with pytest.raises(ProtocolError):
        start().receive_message(message, NOW)


@pytest.mark.parametrize(
    "message", ["abc", "", "2{}", '2abc["x",1]', '2["connect"]', '4{"message":"x"}']
)
def test_a_violation_is_final(message: str) -> None:
    connection = joined()

    with pytest.raises(ProtocolError):
        connection.receive_message(message, NOW)
    for later in ('2["x"]', b"x", "0"):
        with pytest.raises(ProtocolError):
            connection.receive_message(later, NOW)
    assert connection.next_deadline is None


def test_what_was_sent_before_the_client_knew_of_its_expulsion_is_ignored() -> None:
    connection = joined("/", "/a")

    assert connection.expel("/a") == "1/a,"
    assert connection.expel("/") == "1"

    for message in ('2["x"]', '2/a,1["x"]', "30[]", "1", '51-["x"]', b"1"):
        assert connection.receive_message(message, NOW) is None
    assert connection.receive_message("0", NOW) == ConnectRequested("/", {})
    connection.accept("/", "new")
    assert connection.receive_message('2["x"]', NOW) is not None


@pytest.mark.parametrize(
    ("args", "ack_id", "messages"),
    [
        ((), None, ['2["x"]']),
        ((1, "2"), None, ['2["x",1,"2"]']),
        (([1, 2],), 0, ['20["x",[1,2]]']),
        (
            (b"1", {"a": b"2"}),
            7,
            [
                '52-7["x",{"_placeholder":true,"num":0},'
                '{"a":{"_placeholder":true,"num":1}}]',
                b"1",
                b"2",
            ],
        ),
    ],
)
def test_an_event_is_a_header_and_its_attachments(
    args: tuple[object, ...], ack_id: int | None, messages: list[str | bytes]
) -> None:
    assert encode_event("/", "x", args, ack_id) == messages


def test_an_event_of_a_namespace_names_it() -> None:
    assert encode_event("/a", "x", [b""]) == [
        '51-/a,["x",{"_placeholder":true,"num":0}]',
        b"",
    ]


@pytest.mark.parametrize(
    ("args", "messages"),
    [
        ((), ["37[]"]),
        ((1, 2), ["37[1,2]"]),
        (([1, 2],), ["37[[1,2]]"]),
        ((0, False, ""), ['37[0,false,""]']),
        ((b"1",), ['61-7[{"_placeholder":true,"num":0}]', b"1"]),
    ],
)
def test_an_acknowledgement_is_the_array_of_its_arguments(
    args: tuple[object, ...], messages: list[str | bytes]
) -> None:
    assert encode_ack("/", 7, args) == messages


def test_a_reserved_event_is_not_sent() -> None:
    with pytest.raises(ReservedEventError):
        encode_event("/", "disconnect", [])


# Attachments.


def test_a_packet_is_whole_when_its_attachments_are_there() -> None:
    connection = joined()

    assert connection.receive_message(BINARY, NOW) is None
    assert connection.receive_message(b"1", NOW) is None
    assert connection.receive_message(b"", NOW) == (
        EventReceived("/", "x", (b"1", b""), None)
    )
    assert connection.next_deadline is None


def test_an_acknowledgement_may_have_attachments() -> None:
    connection = joined("/", "/a")

    connection.receive_message('61-/a,789[{"_placeholder":true,"num":0}]', NOW)

    assert connection.receive_message(b"1", NOW) == AckReceived("/a", 789, (b"1",))


def test_a_packet_without_attachments_does_not_wait_for_any() -> None:
    connection = joined()
    connection.receive_message('50-["x"]', NOW)

    assert connection.receive_message('2["y"]', NOW) is not None


def test_a_look_alike_in_a_text_event_is_data() -> None:
    args = ({"_placeholder": True, "num": 0},)

    assert joined().receive_message('2["x",{"_placeholder":true,"num":0}]', NOW) == (
        EventReceived("/", "x", args, None)
    )


@pytest.mark.parametrize("message", ['2["x"]', "0/a", "1", BINARY, "abc"])
def test_a_text_among_attachments_is_a_violation(message: str) -> None:
    connection = joined()
    connection.receive_message(BINARY, NOW)

    with pytest.raises(ProtocolError):
        connection.receive_message(message, NOW)


def test_an_attachment_that_nobody_announced_is_a_violation() -> None:
    for connection in (joined(), Connection(NOW, LIMITS)):
        with pytest.raises(ProtocolError):
            connection.receive_message(b"1", NOW)


@pytest.mark.parametrize("num", ["2", "-1", "true", '"0"', "null", "1.0"])
def test_a_placeholder_must_fit(num: str) -> None:
    connection = joined()
    connection.receive_message(f'51-["x",{{"_placeholder":true,"num":{num}}}]', NOW)

    with pytest.raises(ProtocolError):
        connection.receive_message(b"1", NOW)


def test_attachments_are_limited_in_number_before_any_has_come() -> None:
    connection = joined()

    with pytest.raises(ProtocolError, match="too many"):
        connection.receive_message('54-["x"]', NOW)


def test_attachments_are_limited_in_size_together() -> None:
    connection = joined()
    connection.receive_message(BINARY, NOW)
    connection.receive_message(b"x" * 6, NOW)

    with pytest.raises(ProtocolError, match="too large"):
        connection.receive_message(b"x" * 5, NOW)


def test_attachments_may_be_as_large_as_the_limit() -> None:
    connection = joined()
    connection.receive_message(BINARY, NOW)
    connection.receive_message(b"x" * 5, NOW)

    assert connection.receive_message(b"x" * 5, NOW) is not None


def test_attachments_must_come_in_time() -> None:
    connection = joined()
    connection.receive_message(BINARY, NOW)
    assert connection.next_deadline == NOW + 30
    # The attachments share one time limit.
    connection.receive_message(b"1", NOW + 29)
    connection.tick(NOW + 29.999)

    with pytest.raises(ProtocolError, match="in time"):
        connection.tick(NOW + 30)
    assert connection.next_deadline is None


def test_the_earlier_of_two_deadlines_counts() -> None:
    connection = Connection(NOW, LIMITS)
    connection.receive_message('51-["x"]', NOW)
    assert connection.next_deadline == NOW + 30

    late = Connection(NOW, LIMITS)
    late.receive_message('51-["x"]', NOW + 40)
    assert late.next_deadline == NOW + 45
