"""Which tests did not run, and why: read from the results that pytest wrote."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET  # the file comes from our own pytest
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from gate.needs import NEEDS

NEED = re.compile(r"needs ([\w-]+): ")


def skipped(results: Path) -> Counter[str]:
    """How many tests were skipped for each reason; a test that failed as expected is none of them."""
    found: Counter[str] = Counter()
    for _, element in ET.iterparse(results):  # noqa: S314
        if element.tag == "skipped" and element.get("type") != "pytest.xfail":
            found[element.get("message") or "no reason given"] += 1
    return found


def need_of(reason: str) -> str | None:
    """The need that a skipped test names; None when it was skipped for something else."""
    found = NEED.match(reason)
    return found.group(1) if found and found.group(1) in NEEDS else None


def lines(reasons: Mapping[str, int], not_installed: str) -> list[str]:
    """One line for each group of tests that was left out."""
    result = []
    for reason, count in sorted(reasons.items()):
        tests = "1 test" if count == 1 else f"{count} tests"
        name = need_of(reason)
        if name:
            need = NEEDS[name]
            how = f"not installed: {not_installed}; " if not_installed and need.packages else ""
            way = f"Debian: apt-get install {' '.join(need.packages)}" if need.packages else "Debian has none"
            result.append(f"left out  {tests} of {need.tests}: {need.program} is missing ({how}{way})")
        else:
            result.append(f"skipped   {tests}: {reason}")
    return result
