"""The files whose names the page's build derives from their content."""

from __future__ import annotations

import pytest

from serving.middleware import StaticFilesMiddleware


@pytest.mark.parametrize(
    ("name", "immutable"),
    [
        ("llmchat/build/page-B_f6vuf3.js", True),
        ("llmchat/build/KaTeX_Main-Regular-B22Nviop.woff2", True),
        ("llmchat/build/Markdown-DtWu-3O6.css", True),
        ("llmchat/build/chat.js", False),
        ("llmchat/build/chat.css", False),
        ("admin/js/jquery.init.js", False),
    ],
)
async def test_a_file_named_by_its_content_never_changes(
    name: str, immutable: bool
) -> None:
    async def respond(request: object) -> None:
        """Never called."""

    middleware = StaticFilesMiddleware(respond)  # type: ignore[arg-type]

    assert middleware.immutable_file_test(name, f"/static/{name}") is immutable
