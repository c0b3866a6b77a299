"""Skips tests whose program is missing, with a reason that scripts/test finds and names."""

from __future__ import annotations

import pytest
from gate.needs import NEEDS, is_there, skip_reason


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let `@pytest.mark.needs("chromium")` skip a test where there is no Chromium."""
    for item in items:
        for mark in item.iter_markers("needs"):
            for name in mark.args:
                if name not in NEEDS:
                    raise pytest.UsageError(
                        f"{item.nodeid} needs {name!r}, which scripts/gate/needs.py does not know"
                    )
                if not is_there(name):
                    item.add_marker(pytest.mark.skip(reason=skip_reason(name)))
