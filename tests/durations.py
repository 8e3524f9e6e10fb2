"""How long the tests of each file take, so that the longest begin first.

    make test PYTEST_ARGS=--junitxml=/tmp/times.xml T=tests/product
    .venv/bin/python -m tests.durations /tmp/times.xml

The second command replaces the times of these files in `durations.json`. A file that
is missing there counts as a short one, so this is only needed if the tests have come to
wait for one file at their end.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

PATH = Path(__file__).with_name("durations.json")
# What is shorter does not matter: it fills the gaps.
LEAST_S = 4


def read() -> dict[str, int]:
    """Return the seconds of each file that takes long."""
    return dict(json.loads(PATH.read_text()))


def measured(report: Path) -> dict[str, int]:
    """Return the seconds of each file in a JUnit report."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.attrib["classname"].replace(".", "/") + ".py"
        seconds[name] += float(case.attrib["time"])
    return {name: round(total) for name, total in seconds.items()}


def main(reports: list[str]) -> None:
    """Take over the times of the reports."""
    seconds = read()
    for report in reports:
        seconds |= measured(Path(report))
    ranked = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
    kept = {name: total for name, total in ranked if total >= LEAST_S}
    PATH.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
