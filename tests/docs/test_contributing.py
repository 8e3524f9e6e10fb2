"""CONTRIBUTING.md names what exists."""

from __future__ import annotations

import re

import pytest

from tests.support.live import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
GUIDES = dict(re.findall(r"(?ms)^## (Add .+?)\n(.+?)(?=^## |\Z)", PAGE))
# In backticks: what has a folder or a file extension. In blocks: pytest's targets.
PATHS = sorted(
    {
        path
        for path in re.findall(r"`([\w./-]+)`", PAGE)
        if "/" in path or re.search(r"\.(md|py|in|txt|example)$", path)
    }
    | set(re.findall(r"(?<=[ (])tests/[\w./]+", PAGE))
)
MADE = (".venv", ".txt")  # not in a clone, or only an extension


def test_the_guides_are_found() -> None:
    assert set(GUIDES) == {
        f"Add {what}"
        for what in (
            "a provider",
            "an event",
            "a setting",
            "a table",
            "a REST route",
            "an error code",
        )
    }


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_has_five_steps_that_name_files(name: str) -> None:
    steps = re.split(r"(?m)^\d\. ", GUIDES[name])[1:]

    assert len(steps) == 5
    assert [step for step in steps if "/" not in step and ".md" not in step] == []


def test_each_path_that_is_named_exists() -> None:
    paths = {path for path in PATHS if not path.startswith(MADE)}

    assert "accounts/errors.py" in paths
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_the_names_to_extend_are_where_the_guides_say() -> None:
    for name, path in (
        ("ADAPTERS", "llmchat/providers/registry.py"),
        ("Protocol", "llmchat/providers/types.py"),
        ("Protocol", "llmchat/models/providers.py"),
        ("StreamEvent", "llmchat/answers/events.py"),
        ("Conf", "llmchat/conf.py"),
        ("REFUSALS", "llmchat/errors.py"),
        ("ProviderError", "llmchat/providers/errors.py"),
        ("AsyncAPIView", "llmchat/api/async_view.py"),
    ):
        source = (ROOT / path).read_text()

        assert f"`{name}`" in PAGE
        assert re.search(rf"(?m)^\s*(class )?{name}\b", source), (name, path)
