"""What `plan` and `report` install: few packages, counted in the lock."""

from __future__ import annotations

import tomllib
from typing import Any

from tests.runner_harness import ROOT

MOST = 12
DATA = {"tzdata"}  # files of time zones, and no code


def closure(packages: dict[str, dict[str, Any]], name: str) -> set[str]:
    """The package's dependencies, all the way, as Linux installs them."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for needed in packages[waiting.pop()].get("dependencies", []):
            if "win32" not in needed.get("marker", "") and needed["name"] not in found:
                found.add(needed["name"])
                waiting.append(needed["name"])
    return found


def test_plan_and_report_install_at_most_a_dozen_packages() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    packages = {item["name"]: item for item in lock["package"]}
    found = closure(packages, "ci-runner")
    assert {"pydantic", "rich"} <= found
    assert len(found - DATA) <= MOST, sorted(found)
    rows = (ROOT / "scripts/bootstrap/extras.txt").read_text().split("\n")
    assert not [row for row in rows if row.startswith(("action/plan", "action/report", "action/test"))]
