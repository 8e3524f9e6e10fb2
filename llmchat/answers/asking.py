"""The first and the last step of asking a provider for an answer."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator

from llmchat.access.catalogue import Route
from llmchat.answers import runtime
from llmchat.providers.types import Batch, Provider

logger = logging.getLogger(__name__)


async def close(batches: AsyncGenerator[Batch, None]) -> None:
    """Close a provider's stream."""
    try:
        await batches.aclose()
    except Exception:
        # The answer still gets its end.
        logger.exception("a provider's stream could not be closed")


async def reachable(route: Route) -> Provider:
    """Return the provider with its address; start it if it is the local model.

    Raises: ProviderError.
    """
    if not route.embedded:
        return route.provider
    base_url = await runtime.get().local_model.base_url()
    return route.at(base_url)
