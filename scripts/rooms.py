"""Draw the rooms, and which imports which, in Mermaid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from scripts.imports import PACKAGES, find_modules, imported_by

Arrows = dict[str, set[str]]

# The package itself is empty, and migrations are derived from the models.
_LEFT_OUT = ("llmchat", "migrations")
_BESIDE = ("accounts", "config", "serving")


def draw() -> str:
    """Return the flowchart of the rooms, without arrows that follow from others."""
    arrows = reduce_arrows(find_arrows())
    lines = ["flowchart TD", '    subgraph llmchat ["llmchat/"]']
    lines += [f"        {room}" for room in sorted(arrows.keys() - {*_BESIDE})]
    lines.append("    end")
    for room, targets in sorted(arrows.items()):
        if targets:
            lines.append(f"    {room} --> {' & '.join(sorted(targets))}")
    return "\n".join(lines)


def find_arrows() -> Arrows:
    """Return each room with the rooms that it imports."""
    arrows: Arrows = defaultdict(set)
    modules = find_modules()
    for module, path in modules.items():
        room = room_of(module)
        if room in _LEFT_OUT:
            continue
        found = {room_of(name) for name in imported_by(module, path)}
        arrows[room] |= found - {room, "", *_LEFT_OUT}
    return dict(arrows)


def room_of(name: str) -> str:
    """Return the room that a module belongs to, "" if it is from another project."""
    package, _, inside = name.partition(".")
    if package == "llmchat" and inside:
        return inside.split(".")[0]
    return package if package in PACKAGES else ""


def reduce_arrows(arrows: Mapping[str, set[str]]) -> Arrows:
    """Return `arrows` without those whose target can be reached by a longer path."""
    return {
        room: {
            target
            for target in targets
            if not any(
                target in _reachable(other, arrows) for other in targets - {target}
            )
        }
        for room, targets in arrows.items()
    }


def _reachable(room: str, arrows: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [room]
    while waiting:
        new = arrows.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found
