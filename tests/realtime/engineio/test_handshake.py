"""What a request asks for, and how a handshake is answered."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmchat.realtime.engineio.errors import Refusal, RequestError
from llmchat.realtime.engineio.handshake import (
    Action,
    Options,
    check_request,
    check_version,
    make_sid,
    open_packet,
)

OPTIONS = Options()


def check(
    query: Mapping[str, str],
    method: str = "GET",
    *,
    websocket: bool = False,
    origin: str | None = None,
    session: str | None = None,
    options: Options = OPTIONS,
) -> Action:
    return check_request(
        method,
        query,
        websocket=websocket,
        origin=origin,
        session_transport=session,
        options=options,
    )


def query(transport: str, sid: str | None = None) -> dict[str, str]:
    made = {"EIO": "4", "transport": transport, "t": "x1"}
    return made if sid is None else made | {"sid": sid}


@pytest.mark.parametrize(
    ("parameters", "method", "websocket", "session", "action"),
    [
        (query("polling"), "GET", False, None, Action.OPEN),
        (query("polling", ""), "GET", False, None, Action.OPEN),
        (query("websocket"), "GET", True, None, Action.OPEN),
        (query("polling", "s"), "GET", False, "polling", Action.POLL),
        (query("polling", "s"), "POST", False, "polling", Action.POST),
        (query("websocket", "s"), "GET", True, "polling", Action.WEBSOCKET),
        # It is accepted and then closed: the stock client expects no refusal here.
        (query("websocket", "s"), "GET", True, "websocket", Action.WEBSOCKET),
        # Only the first request has to name the protocol's version.
        ({"transport": "polling", "sid": "s"}, "GET", False, "polling", Action.POLL),
    ],
)
def test_a_request_asks_for(
    parameters: dict[str, str],
    method: str,
    websocket: bool,
    session: str | None,
    action: Action,
) -> None:
    assert check(parameters, method, websocket=websocket, session=session) is action


@pytest.mark.parametrize(
    ("parameters", "method", "websocket", "session", "refusal"),
    [
        ({}, "GET", False, None, Refusal.UNKNOWN_TRANSPORT),
        (query("abc"), "GET", False, None, Refusal.UNKNOWN_TRANSPORT),
        (query("constructor"), "GET", False, None, Refusal.UNKNOWN_TRANSPORT),
        (query("__proto__"), "GET", False, None, Refusal.UNKNOWN_TRANSPORT),
        (query("webtransport"), "GET", True, None, Refusal.UNKNOWN_TRANSPORT),
        (query("abc", "s"), "GET", False, "polling", Refusal.UNKNOWN_TRANSPORT),
        (query("polling", "s"), "GET", False, None, Refusal.UNKNOWN_SID),
        (query("polling", "s"), "DELETE", False, None, Refusal.UNKNOWN_SID),
        (query("websocket", "s"), "GET", True, None, Refusal.UNKNOWN_SID),
        (query("polling"), "POST", False, None, Refusal.BAD_HANDSHAKE_METHOD),
        (query("polling"), "PUT", False, None, Refusal.BAD_HANDSHAKE_METHOD),
        (query("websocket"), "POST", False, None, Refusal.BAD_HANDSHAKE_METHOD),
        (query("websocket"), "GET", False, None, Refusal.BAD_REQUEST),
        (query("polling"), "GET", True, None, Refusal.BAD_REQUEST),
        # After the upgrade there is no polling any more.
        (query("polling", "s"), "GET", False, "websocket", Refusal.BAD_REQUEST),
        (query("polling", "s"), "POST", False, "websocket", Refusal.BAD_REQUEST),
        # A proxy has turned a WebSocket's handshake into a plain request.
        (query("websocket", "s"), "GET", False, "polling", Refusal.BAD_REQUEST),
        (query("websocket", "s"), "GET", False, "websocket", Refusal.BAD_REQUEST),
        (query("polling", "s"), "GET", True, "polling", Refusal.BAD_REQUEST),
        (query("polling", "s"), "PUT", False, "polling", Refusal.BAD_REQUEST),
        (query("polling", "s"), "HEAD", False, "polling", Refusal.BAD_REQUEST),
    ],
)
def test_a_request_is_refused(
    parameters: dict[str, str],
    method: str,
    websocket: bool,
    session: str | None,
    refusal: Refusal,
) -> None:
    with pytest.raises(RequestError) as caught:
        check(parameters, method, websocket=websocket, session=session)

    assert (caught.value.code, caught.value.message, caught.value.status) == (
        refusal.value
    )


@pytest.mark.parametrize(
    "origin", ["http://a\x00", "http://a\r\nX: y", "http://€", "\x7f"]
)
def test_an_origin_with_illegal_characters_is_a_bad_request(origin: str) -> None:
    for parameters in (query("polling"), query("polling", "unknown")):
        with pytest.raises(RequestError) as caught:
            check(parameters, origin=origin)
        assert caught.value.code == 3


@pytest.mark.parametrize("origin", [None, "", "null", "http://a:80", "http://\xe9\t"])
def test_a_legal_origin_is_not_judged(origin: str | None) -> None:
    assert check(query("polling"), origin=origin) is Action.OPEN


def test_the_transport_is_judged_before_the_origin_and_both_before_the_sid() -> None:
    with pytest.raises(RequestError) as caught:
        check(query("abc", "unknown"), origin="\x00")

    assert caught.value.code == 0


def test_a_transport_that_is_not_offered_is_unknown() -> None:
    polling_only = Options(transports=("polling",))

    with pytest.raises(RequestError) as caught:
        check(query("websocket"), websocket=True, options=polling_only)
    assert caught.value.code == 0


@pytest.mark.parametrize("version", [None, "", "3", "5", "abc", "04", "4.0", "\u0664"])
def test_any_protocol_but_the_fourth_is_refused(version: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        check_version({} if version is None else {"EIO": version})

    assert (caught.value.code, caught.value.status) == (5, 400)


def test_the_fourth_protocol_is_let_in() -> None:
    check_version({"EIO": "4"})


def test_an_application_may_refuse_in_its_own_words() -> None:
    assert str(RequestError(Refusal.FORBIDDEN)) == "Forbidden"
    refused = RequestError(Refusal.FORBIDDEN, "Not today")
    assert (refused.code, refused.message, refused.status) == (4, "Not today", 403)


def test_session_ids_are_long_and_of_url_safe_characters() -> None:
    sids = {make_sid() for _ in range(1000)}

    assert len(sids) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{20,}", sid) for sid in sids)


def test_the_open_packet_tells_what_the_server_offers() -> None:
    options = Options(
        ping_interval_s=0.3, ping_timeout_s=0.2, max_payload_bytes=1_000_000
    )

    assert open_packet("abc", "polling", options).data == (
        '{"sid":"abc","upgrades":["websocket"],"pingInterval":300,"pingTimeout":200,'
        '"maxPayload":1000000}'
    )


@given(
    st.text(),
    st.sampled_from(["polling", "websocket"]),
    st.builds(
        Options,
        ping_interval_s=st.floats(0.01, 1000.0),
        ping_timeout_s=st.sampled_from([1, 1.0, 20.0]),
        max_payload_bytes=st.integers(1, 10**9),
        allow_upgrades=st.booleans(),
    ),
)
def test_each_open_packet_is_of_its_own_session_and_options(
    sid: str, transport: str, options: Options
) -> None:
    may_upgrade = transport == "polling" and options.allow_upgrades
    offered = {
        "sid": sid,
        "upgrades": ["websocket"] if may_upgrade else [],
        "pingInterval": round(options.ping_interval_s * 1000),
        "pingTimeout": round(options.ping_timeout_s * 1000),
        "maxPayload": options.max_payload_bytes,
    }

    expected = json.dumps(offered, separators=(",", ":"))
    assert open_packet(sid, transport, options).data == expected


@pytest.mark.parametrize(
    ("transport", "options"),
    [
        ("websocket", OPTIONS),
        ("polling", Options(allow_upgrades=False)),
        ("polling", Options(transports=("polling",))),
    ],
)
def test_no_upgrade_is_offered_where_there_is_none(
    transport: str, options: Options
) -> None:
    assert json.loads(open_packet("abc", transport, options).data)["upgrades"] == []


@given(
    st.dictionaries(
        st.sampled_from(["transport", "sid", "EIO", "t"]),
        st.one_of(st.sampled_from(["polling", "websocket", "4", ""]), st.text()),
    ),
    st.sampled_from(["GET", "POST", "PUT", "OPTIONS", "get", ""]),
    st.booleans(),
    st.one_of(st.none(), st.text()),
    st.sampled_from([None, "polling", "websocket"]),
)
def test_any_request_is_understood_or_refused(
    parameters: dict[str, str],
    method: str,
    websocket: bool,
    origin: str | None,
    session: str | None,
) -> None:
    try:
        action = check(
            parameters, method, websocket=websocket, origin=origin, session=session
        )
    except RequestError:
        return
    assert (action is Action.OPEN) is not bool(parameters.get("sid"))
