"""Limits on attempts to log in and to register.

An attempt is counted before its password is checked, so that concurrent attempts
cannot slip through. Three counters stop three kinds of attack: by account and address,
one person who guesses; by address, one address that tries many accounts; by account,
guesses from many addresses. The last two limits are wider, because a whole office can
share an address, and because a stranger must not be able to lock an account's owner out
with a handful of guesses.

The counters are in the cache. During an outage of Redis they are in the process's own
memory: people can log in, and guesses stay limited.
"""

from __future__ import annotations

import ipaddress

from django.http import HttpRequest
from django_ratelimit.core import get_usage

from accounts import conf, names
from accounts.errors import AttemptsError

_WIDER = 5

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def count_attempt(request: HttpRequest, *, account: str) -> None:
    """Count one attempt to log in.

    Raises: AttemptsError, when a limit is exceeded.
    """
    per_minute = conf.get().login_attempts_per_minute
    if per_minute == 0:
        return
    network = _network(request)
    name = names.normalize(account).casefold()[:150]
    counts = (
        ("login-pair", f"{network} {name}", per_minute),
        ("login-address", network, per_minute * _WIDER),
        ("login-account", name, per_minute * _WIDER),
    )
    for group, key, limit in counts:
        _count(request, group=group, key=key, limit=limit)


def count_registration(request: HttpRequest) -> None:
    """Count one attempt to register from an address.

    Raises: AttemptsError.
    """
    per_minute = conf.get().login_attempts_per_minute
    if per_minute:
        _count(request, group="register", key=_network(request), limit=per_minute)


def _count(request: HttpRequest, *, group: str, key: str, limit: int) -> None:
    usage = get_usage(
        request,
        group=group,
        key=lambda _group, _request: key,
        rate=f"{limit}/m",
        increment=True,
    )
    if usage and usage["should_limit"]:
        raise AttemptsError(max(1, usage["time_left"]))


def _network(request: HttpRequest) -> str:
    """Return the client's address, or its /64, which one IPv6 client owns."""
    address = address_of(request)
    if address is None:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def address_of(request: HttpRequest) -> IPAddress | None:
    """Return the client's address, None if the server does not know it."""
    address = _without_port(request.META.get("REMOTE_ADDR") or "")
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    # A server that listens on :: sees IPv4 addresses mapped into IPv6.
    mapped = getattr(parsed, "ipv4_mapped", None)
    return mapped or parsed


def _without_port(address: str) -> str:
    """Return the address without a port: some proxies forward `192.0.2.7:4711`."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, _, port = address.partition(":")
    return host if port.isdecimal() else address
