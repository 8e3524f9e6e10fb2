"""What asking a provider for an answer begins and ends with."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator

from llmchat.access.catalogue import Route
from llmchat.answers import runtime
from llmchat.providers.types import Batch, Provider

logger = logging.getLogger(__name__)


async def close(batches: AsyncGenerator[Batch, None]) -> None:
    """Let go of a provider's stream."""
    try:
        await batches.aclose()
    except Exception:
        # The answer has its end all the same.
        logger.exception("a provider's stream did not close")


async def reachable(route: Route) -> Provider:
    """Return the provider with its address, starting the model on this machine.

    Raises: ProviderError.
    """
    if not route.embedded:
        return route.provider
    base_url = await runtime.get().local_model.base_url()
    return route.at(base_url)
