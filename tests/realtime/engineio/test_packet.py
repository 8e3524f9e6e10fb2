"""The text and the frame of one packet, and the payload of several."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmchat.realtime.engineio.errors import PacketError
from llmchat.realtime.engineio.packet import (
    Packet,
    PacketType,
    byte_length,
    decode_frame,
    decode_text,
    encode_frame,
    encode_text,
)
from llmchat.realtime.engineio.payload import decode_payload, encode_payload

TEXTS = [
    (Packet(PacketType.OPEN, '{"sid":"x"}'), '0{"sid":"x"}'),
    (Packet(PacketType.CLOSE), "1"),
    (Packet(PacketType.PING), "2"),
    (Packet(PacketType.PING, "probe"), "2probe"),
    (Packet(PacketType.PONG), "3"),
    (Packet(PacketType.PONG, "probe"), "3probe"),
    (Packet(PacketType.MESSAGE), "4"),
    (Packet(PacketType.MESSAGE, "hello"), "4hello"),
    (Packet(PacketType.MESSAGE, "€ and 👍"), "4€ and 👍"),
    (Packet(PacketType.MESSAGE, "b"), "4b"),
    (Packet(PacketType.MESSAGE, b"\x01\x02\x03\x04"), "bAQIDBA=="),
    (Packet(PacketType.MESSAGE, b"\xfb\xff"), "b+/8="),
    (Packet(PacketType.MESSAGE, b""), "b"),
    (Packet(PacketType.UPGRADE), "5"),
    (Packet(PacketType.NOOP), "6"),
]

NO_PACKETS = [
    "",
    "7",
    "9",
    "abc",
    "-1",
    " 4",
    "\u0664",  # a four in Arabic script
    "²",
    "\x1e",
    "B",
    "bA",  # no number of bytes has one digit
    "bAQIDBA===",
    "bAQ=IDBA",
    "b-_8=",  # the alphabet of URLs
    "bAQ ID",
    "bAQID\n",
    "b=",
    "b€",
]

texts = st.text(st.characters(exclude_categories=["Cs"]))
packets = st.one_of(
    st.builds(Packet, st.sampled_from(PacketType), texts),
    st.builds(Packet, st.just(PacketType.MESSAGE), st.binary()),
)


@pytest.mark.parametrize(("packet", "text"), TEXTS)
def test_a_packet_has_one_text(packet: Packet, text: str) -> None:
    assert encode_text(packet) == text
    assert decode_text(text) == packet


@pytest.mark.parametrize("text", NO_PACKETS)
def test_what_is_no_packet_is_refused(text: str) -> None:
    with pytest.raises(PacketError):
        decode_text(text)


@pytest.mark.parametrize(
    ("text", "data"), [("bAQIDBA", b"\1\2\3\4"), ("bAQIDBA=", b"\1\2\3\4")]
)
def test_missing_padding_is_forgiven(text: str, data: bytes) -> None:
    assert decode_text(text).data == data


def test_binary_frames_carry_the_bytes_as_they_are() -> None:
    packet = Packet(PacketType.MESSAGE, b"\x00\xff")

    assert encode_frame(packet) == b"\x00\xff"
    assert decode_frame(b"\x00\xff") == packet
    assert decode_frame(b"") == Packet(PacketType.MESSAGE, b"")


def test_an_empty_binary_message_goes_as_text() -> None:
    assert encode_frame(Packet(PacketType.MESSAGE, b"")) == "b"


def test_a_peer_without_binary_gets_base64() -> None:
    packet = Packet(PacketType.MESSAGE, b"\x01\x02\x03\x04")

    assert encode_frame(packet, base64_only=True) == "bAQIDBA=="
    assert decode_frame("bAQIDBA==") == packet


@pytest.mark.parametrize(
    ("data", "length"), [("", 0), ("abc", 3), ("é€👍", 9), (b"\xff\x00", 2)]
)
def test_a_length_counts_bytes(data: str | bytes, length: int) -> None:
    assert byte_length(data) == length


def test_half_of_a_surrogate_pair_has_no_length() -> None:
    with pytest.raises(UnicodeEncodeError):
        byte_length("\ud83d")


@given(packets)
def test_a_packet_comes_back_from_its_text(packet: Packet) -> None:
    assert decode_text(encode_text(packet)) == packet


@given(packets, st.booleans())
def test_a_packet_comes_back_from_its_frame(packet: Packet, base64: bool) -> None:
    frame = encode_frame(packet, base64_only=base64)

    assert decode_frame(frame) == packet
    assert isinstance(frame, str) or not base64


@given(st.one_of(st.text(), st.text("b0123456=+/AZaz")))
def test_any_text_is_a_packet_or_an_error(text: str) -> None:
    try:
        packet = decode_text(text)
    except PacketError:
        return
    if isinstance(packet.data, str):
        assert encode_text(packet) == text


def decode(body: bytes, max_packets: int = 1000) -> list[Packet]:
    return list(decode_payload(body, max_packets=max_packets))


@pytest.mark.parametrize(
    ("packets", "body"),
    [
        ([Packet(PacketType.MESSAGE, "hello")], b"4hello"),
        (
            [Packet(PacketType.MESSAGE, f"test{n}") for n in (1, 2, 3)],
            b"4test1\x1e4test2\x1e4test3",
        ),
        (
            [Packet(PacketType.MESSAGE, "hello"), Packet(PacketType.MESSAGE, b"\1\2")],
            b"4hello\x1ebAQI=",
        ),
        ([Packet(PacketType.NOOP), Packet(PacketType.CLOSE)], b"6\x1e1"),
        ([Packet(PacketType.MESSAGE, "€")], b"4\xe2\x82\xac"),
    ],
)
def test_a_payload_is_its_packets_joined(packets: list[Packet], body: bytes) -> None:
    assert encode_payload(packets) == body
    assert decode(body) == packets


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x1e",
        b"4a\x1e",
        b"\x1e4a",
        b"4a\x1e\x1e4b",
        b"abc",
        b"4\xff",
        b"4\xed\xa0\x80",
    ],
)
def test_what_is_no_payload_is_refused(body: bytes) -> None:
    with pytest.raises(PacketError):
        decode(body)


def test_packets_before_an_illegal_one_are_had_first() -> None:
    payload = decode_payload(b"4a\x1e4b\x1e9", max_packets=10)

    assert [next(payload).data, next(payload).data] == ["a", "b"]
    with pytest.raises(PacketError):
        next(payload)


def test_a_payload_holds_so_many_packets_and_no_more() -> None:
    assert len(decode(b"\x1e".join([b"4"] * 5), max_packets=5)) == 5
    with pytest.raises(PacketError):
        decode(b"\x1e".join([b"4"] * 6), max_packets=5)


@given(st.lists(packets.filter(lambda p: "\x1e" not in str(p.data)), min_size=1))
def test_packets_come_back_from_their_payload(packets: list[Packet]) -> None:
    assert decode(encode_payload(packets)) == packets


@given(st.binary())
def test_any_body_is_a_payload_or_an_error(body: bytes) -> None:
    try:
        packets = decode(body)
    except PacketError:
        return
    assert packets
