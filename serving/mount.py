"""The path below which a proxy shows the server: `FORCE_SCRIPT_NAME`.

Whether the proxy passes `/team/chat/llm/chat` on as it is, or as `/llm/chat`, makes no
difference: routes are written without the prefix, as if there were no proxy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.body_limit import Receive, Scope, Send


def unmounted(scope: Scope, prefix: str) -> Scope:
    """Return the scope of a request without the prefix in its path."""
    return {**scope, "path": without(prefix, scope["path"]), "root_path": ""}


def without(prefix: str, path: str) -> str:
    """Return a path without the prefix; a path outside the prefix stays as it is."""
    if prefix and f"{path}/".startswith(f"{prefix}/"):
        return path[len(prefix) :] or "/"
    return path


class Mounted:
    """Django below a prefix, which it needs to write links and redirects."""

    def __init__(self, application: Any, prefix: str) -> None:
        self._application = application
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put back the prefix, which Django expects in the path and removes itself."""
        path = f"{self._prefix}{scope['path']}"
        await self._application({**scope, "path": path}, receive, send)
