"""The text of one Socket.IO packet."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmchat.realtime.socketio.errors import (
    PacketError,
    ProtocolError,
    ReservedEventError,
)
from llmchat.realtime.socketio.packet import (
    BINARY_TYPES,
    RESERVED_EVENTS,
    Packet,
    PacketType,
    check_event_name,
    decode,
    encode,
)

P = PacketType

TEXTS = [
    (Packet(P.CONNECT), "0"),
    (Packet(P.CONNECT, data={"token": "123"}), '0{"token":"123"}'),
    (Packet(P.CONNECT, "/admin"), "0/admin,"),
    (Packet(P.CONNECT, "/admin", {"a": None}), '0/admin,{"a":null}'),
    (Packet(P.DISCONNECT), "1"),
    (Packet(P.DISCONNECT, "/admin"), "1/admin,"),
    (Packet(P.EVENT, data=["foo"]), '2["foo"]'),
    (
        Packet(P.EVENT, data=["foo", 1, "2", {"3": [True]}]),
        '2["foo",1,"2",{"3":[true]}]',
    ),
    (Packet(P.EVENT, data=["", 0, False, "", None]), '2["",0,false,"",null]'),
    (Packet(P.EVENT, data=[7, "x"]), '2[7,"x"]'),
    (Packet(P.EVENT, data=[1.5]), "2[1.5]"),
    (Packet(P.EVENT, "/admin", ["foo"], 12), '2/admin,12["foo"]'),
    (Packet(P.EVENT, data=["foo"], ack_id=0), '20["foo"]'),
    (Packet(P.EVENT, data=["foo"], ack_id=2**53 - 1), '29007199254740991["foo"]'),
    (Packet(P.ACK, data=["foo"], ack_id=2**53 - 1), '39007199254740991["foo"]'),
    (Packet(P.EVENT, data=["てすと", "👍"]), '2["てすと","👍"]'),
    (Packet(P.EVENT, "/a?b=c", ["x"]), '2/a?b=c,["x"]'),
    (Packet(P.ACK, data=[], ack_id=0), "30[]"),
    (Packet(P.ACK, data=[1, "2"], ack_id=456), '3456[1,"2"]'),
    (Packet(P.ACK, "/admin", [[1]], 13), "3/admin,13[[1]]"),
    (Packet(P.BINARY_EVENT, data=["foo"], attachments=0), '50-["foo"]'),
    (
        Packet(
            P.BINARY_EVENT, data=["f", {"_placeholder": True, "num": 0}], attachments=1
        ),
        '51-["f",{"_placeholder":true,"num":0}]',
    ),
    (
        Packet(P.BINARY_EVENT, "/admin", ["foo"], 7, 2),
        '52-/admin,7["foo"]',
    ),
    (Packet(P.BINARY_ACK, data=[], ack_id=789, attachments=2), "62-789[]"),
]

NO_PACKETS = [
    "",
    "abc",
    "7",
    "8",
    "-",
    " 0",
    "\u06620[]",  # a two in Arabic script
    "²[]",
    # CONNECT takes an object or nothing.
    "0[]",
    '0"x"',
    "01 2",
    "0null",
    "0/admin,[]",
    '0{"a":1',
    "0abc",
    # DISCONNECT takes nothing.
    "1{}",
    "1[]",
    "1null",
    "1/admin,{}",
    # EVENT takes an array that begins with a name.
    "2",
    "2{}",
    "2[]",
    "2null",
    '2"foo"',
    "2[null]",
    "2[true]",
    "2[{}]",
    '2[["foo"]]',
    '2["foo"',
    '2["foo"]]',
    '2["foo"] x',
    "2/admin",
    "2/admin,",
    '2abc["foo"]',
    '2-1["foo"]',
    '2+1["foo"]',
    '21.5["foo"]',
    '2\u0661["foo"]',
    '2²["foo"]',
    '21-["foo"]',
    "2" + "9" * 16 + '["foo"]',
    "2" + "9" * 5000 + '["foo"]',
    "2" + "9" * 16,
    # ACK takes an array and needs an id.
    "3[]",
    "31",
    "31{}",
    "3/admin,[]",
    # Only a server may send CONNECT_ERROR.
    "4",
    '4{"message":"x"}',
    "4/admin,{}",
    # Binary packets need a count of attachments, within the limit.
    "5",
    '5["foo"]',
    '5-["foo"]',
    '51["foo"]',
    '5a-["foo"]',
    '5-1-["foo"]',
    '51.0-["foo"]',
    '5\u0661-["foo"]',
    '511-["foo"]',
    '51000000-["foo"]',
    "5" + "9" * 5000 + '-["foo"]',
    "51-{}",
    "51-",
    '51-[{"_placeholder":true,"num":0}]',
    "61-[]",
    "61-1{}",
]


@pytest.mark.parametrize(("packet", "text"), TEXTS)
def test_a_packet_has_one_text(packet: Packet, text: str) -> None:
    assert encode(packet) == text
    assert decode(text) == packet


@pytest.mark.parametrize("text", NO_PACKETS)
def test_what_is_no_packet_is_refused(text: str) -> None:
    with pytest.raises(PacketError):
        decode(text)


def test_a_namespace_may_end_with_the_packet() -> None:
    assert decode("0/chat") == decode("0/chat,") == Packet(P.CONNECT, "/chat")
    assert decode("1/chat") == Packet(P.DISCONNECT, "/chat")


def test_a_namespace_is_taken_to_the_letter() -> None:
    assert decode("0/a\nb?c=d{,").namespace == "/a\nb?c=d{"
    assert decode("0/").namespace == "/"


def test_an_empty_acknowledgement_id_is_none_and_zero_is_one() -> None:
    assert decode('2["x"]').ack_id is None
    assert decode('20["x"]').ack_id == 0
    assert decode('2007["x"]').ack_id == 7


@pytest.mark.parametrize("number", [2**53, 10**16 - 1, 10**16, 10**40])
@pytest.mark.parametrize("head", ["2", "3", "51-", "61-"])
def test_an_id_that_javascript_could_not_hold_is_illegal(
    head: str, number: int
) -> None:
    with pytest.raises(PacketError):
        decode(f'{head}{number}["x"]')


def test_the_number_of_attachments_is_limited() -> None:
    assert decode('53-["x"]', max_attachments=3).attachments == 3
    with pytest.raises(PacketError):
        decode('54-["x"]', max_attachments=3)


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
def test_a_reserved_event_is_not_an_application_s(name: str) -> None:
    for text in (f'2["{name}"]', f'51-["{name}"]'):
        with pytest.raises(PacketError):
            decode(text)
    with pytest.raises(ReservedEventError):
        check_event_name(name)


@pytest.mark.parametrize(
    "name", ["error", "message", "ping", "open", "__proto__", "constructor", "Connect"]
)
def test_other_names_are_free(name: str) -> None:
    assert decode(f'2["{name}"]').data == [name]
    check_event_name(name)


def test_an_undecodable_packet_is_a_violation() -> None:
    assert issubclass(PacketError, ProtocolError)


def test_json_may_be_made_beforehand() -> None:
    assert encode(Packet(P.EVENT, "/a", None, 1), '["x"]') == '2/a,1["x"]'


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
names = st.text().filter(lambda name: name not in RESERVED_EVENTS)
namespaces = st.one_of(
    st.just("/"), st.text(st.characters(exclude_characters=",")).map("/".__add__)
)
ack_ids = st.none() | st.integers(0, 2**53 - 1)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    packet_type = draw(st.sampled_from([t for t in P if t is not P.CONNECT_ERROR]))
    ack_id = draw(ack_ids)
    data: Any = draw(st.lists(json_values))
    match packet_type:
        case P.CONNECT:
            data, ack_id = (
                draw(st.none() | st.dictionaries(st.text(), json_values)),
                None,
            )
        case P.DISCONNECT:
            data, ack_id = None, None
        case P.EVENT | P.BINARY_EVENT:
            data = [draw(names), *data]
        case _:
            ack_id = ack_id or 0
    attachments = draw(st.integers(0, 10)) if packet_type in BINARY_TYPES else 0
    return Packet(packet_type, draw(namespaces), data, ack_id, attachments)


@given(packets())
def test_a_packet_comes_back_from_its_text(packet: Packet) -> None:
    assert decode(encode(packet)) == packet


@given(packets(), st.data())
def test_a_packet_cut_short_is_another_or_an_error(
    packet: Packet, data: st.DataObject
) -> None:
    text = encode(packet)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    try:
        decode(cut)
    except PacketError:
        return
    # A packet that ends in JSON is illegal if it is cut within it.
    assert packet.data is None or not cut.endswith(("]", "}")) or cut[0] == "0"


@given(st.text('0123456789-/,[]{}"\\:abc\u0661² \n', max_size=30) | st.text())
def test_any_text_is_a_packet_or_an_error(text: str) -> None:
    try:
        packet = decode(text)
    except PacketError:
        return
    again = decode(encode(packet))
    assert again == packet
