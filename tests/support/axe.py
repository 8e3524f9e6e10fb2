"""Runs axe-core in a page, to see what its rules find wrong."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page

from tests.support.live import ROOT

SOURCE = ROOT / "tests" / "js" / "node_modules" / "axe-core" / "axe.min.js"
# Menus and tooltips are at the end of the body, outside of its landmarks.
_RULES = {"region": {"enabled": False}}
# What is used of the result has no selectors. No style sheet is parsed again for a rule
# that is experimental and off.
_CHEAP = {
    "resultTypes": ["violations"],
    "selectors": False,
    "preload": {"assets": ["media"]},
}
_RUN = """
async (options) => {
    // What moves, or comes up, has colours of its own meanwhile.
    document.getAnimations().forEach((animation) => {
        if (animation.effect.getComputedTiming().endTime < Infinity) animation.finish();
    });
    // What a dialog covers can be neither used nor read.
    const shown = { exclude: [["[data-aria-hidden]"]] };
    const { violations } = await axe.run(shown, options);
    return violations.map(({ id, nodes }) =>
        `${id}: ${nodes.map(told).join(", ")}`);
    function told({ html, any, all, none }) {
        return `${html.slice(0, 200)} ${[...any, ...all, ...none][0]?.message}`;
    }
}
"""


async def violations(page: Page, *, only: tuple[str, ...] = ()) -> list[str]:
    """Return what violates axe's rules, or those named in `only`, in the page as it is.

    Each string names the rule and the elements that violate it.
    """
    options: dict[str, Any] = {"runOnly": list(only)} if only else {"rules": _RULES}
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(SOURCE.read_text())
    found: list[str] = await page.evaluate(_RUN, options | _CHEAP)
    return found
