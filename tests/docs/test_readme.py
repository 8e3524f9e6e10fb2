"""The README is complete: every setting, command and error code is in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from accounts import errors as account_errors
from accounts import urls as account_urls
from llmchat import errors as chat_errors
from llmchat import urls as chat_urls
from llmchat.api.validation import MAX_MESSAGES
from llmchat.providers import errors as provider_errors
from serving import errors as exceptions
from tests.support.live import ROOT

README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()

# Read before or without `.env`, so they have no effect in it.
NOT_IN_THE_FILE = {"LLMCHAT_ENV_FILE", "LLMCHAT_CHROMIUM"}


def _settings() -> set[str]:
    """Return the names of the variables that `config/settings.py` reads."""
    tree = ast.parse((ROOT / "config" / "settings.py").read_text())
    return {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "env"
        and node.func.attr not in {"read_dotenv", "refuse", "report_misspelt"}
        and isinstance(node.args[0], ast.Constant)
    }


def _read_elsewhere() -> set[str]:
    """Return the names of the variables that any other module reads."""
    pattern = re.compile(r"""environ(?:\.get\(|\[)\s*["']([A-Z][A-Z0-9_]+)["']""")
    names: set[str] = set()
    for package in ("accounts", "config", "llmchat"):
        for path in (ROOT / package).rglob("*.py"):
            names.update(pattern.findall(path.read_text()))
    return names - {"DJANGO_SETTINGS_MODULE"}


def _table_after(heading: str) -> Iterator[str]:
    """Yield the first cell of every row of the README's table below a heading."""
    section = README.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    for line in section.splitlines():
        if match := re.match(r"\|\s*`([^`]+)`", line):
            yield match[1]


VARIABLES = sorted(_settings() | _read_elsewhere() | {"LLMCHAT_CHROMIUM"})


def test_the_settings_are_found() -> None:
    assert {"PORT", "LLMCHAT_REGISTRATION", "LLMCHAT_DEMO_PASSWORD"} <= set(VARIABLES)


def test_the_readme_has_each_setting_and_none_that_nobody_reads() -> None:
    assert set(_table_after("## Settings")) == set(VARIABLES)


def test_the_example_file_has_each_setting_and_none_that_nobody_reads() -> None:
    named = set(re.findall(r"^(?:# ?)?([A-Z][A-Z0-9_]+)=", EXAMPLE, re.MULTILINE))

    assert named == set(VARIABLES) - NOT_IN_THE_FILE


@pytest.mark.parametrize(
    "target",
    re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE),
)
def test_a_command_is_in_the_readme(target: str) -> None:
    assert f"`make {target}`" in README


def _readable(pattern: str) -> str:
    """Return a pattern as a person writes it, with fields named as in the events."""
    path = pattern.strip("^$").removesuffix("/?").replace("\\.", ".")
    named = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", path)
    return re.sub(r"_(\w)", lambda match: match[1].upper(), named)


def _addresses() -> set[str]:
    """Return the addresses that the project routes, without the admin's."""
    return {
        f"/{prefix}{_readable(str(route.pattern))}"
        for prefix, urls in (("", chat_urls), ("auth/", account_urls))
        for route in urls.urlpatterns
    }


def test_the_addresses_are_found() -> None:
    assert {"/llm/chat", "/auth/token/refresh"} <= _addresses()


def test_every_address_is_in_the_readme() -> None:
    section = README.split("\n### Addresses\n", 1)[1].split("\n## ", 1)[0]

    assert set(re.findall(r"(?m)^\| [A-Z]+ \| `([^`]+)`", section)) == _addresses()


def _subclasses(cls: type[Exception]) -> Iterator[type[Exception]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def _codes() -> set[str]:
    codes = set(chat_errors.REFUSALS) | set(exceptions.CODES.values())
    codes |= set(get_args(account_errors.TokenCode))
    for base in (account_errors.AccountError, provider_errors.ProviderError):
        for error in (base, *_subclasses(base)):
            code = getattr(error, "code", None)
            if isinstance(code, str):
                codes.add(code)
    return codes


CODES = sorted(_codes())


def test_the_codes_are_found() -> None:
    assert {"rate_limited", "provider_timeout", "invalid_credentials"} <= set(CODES)


def test_the_readme_has_each_error_code_and_none_that_does_not_exist() -> None:
    assert set(_table_after("## Errors")) == set(CODES)


@pytest.mark.parametrize(
    "page",
    [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))],
    ids=lambda p: p.name,
)
def test_a_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [
        link
        for link in links
        if "://" not in link and not (page.parent / link).exists()
    ]

    assert missing == []


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize(
    "page",
    [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))],
    ids=lambda p: p.name,
)
def test_a_link_to_a_heading_leads_to_one(page: Path) -> None:
    links = re.findall(r"\]\(([^):#]*)#([^)]+)\)", page.read_text())
    missing = [
        f"{link}#{anchor}"
        for link, anchor in links
        if anchor not in _anchors(page.parent / link if link else page)
    ]

    assert missing == []


def test_how_many_messages_a_request_holds_is_among_the_limits() -> None:
    guide = (ROOT / "docs" / "integration.md").read_text()
    limits = guide.split("\n## Limits\n", 1)[1]

    assert f"at most {MAX_MESSAGES:,} `messages`" in limits


def test_every_check_is_in_the_operations_guide() -> None:
    source = (ROOT / "llmchat" / "checks.py").read_text()
    guide = (ROOT / "docs" / "operations.md").read_text()

    ids = set(re.findall(r'id="(llmchat\.[EW]\d+)"', source))
    assert ids
    assert ids <= set(re.findall(r"`(llmchat\.[EW]\d+)`", guide))
