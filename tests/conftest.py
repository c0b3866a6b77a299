"""Skips tests whose program is missing, with a reason that scripts/test finds and names; keeps some tests together.

A failure is printed when it happens, not at the end alone: whatever cuts the session short, its cause is on record.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from gate.needs import NEEDS, is_there, skip_reason

# what these files begin with is dear: the tests of each run one after the other, in one process
TOGETHER = ("tests/actions/", "tests/integration/test_workflow_parser.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let processes share the tests one by one, but for those that belong together.

    Marks for groups would say it too, but pytest-xdist 3.8 writes them where pytest 9.2 does not read them.
    """
    scheduling = importlib.import_module("xdist.scheduler").LoadScopeScheduling(
        config, log
    )  # it has no types
    scheduling._split_scope = together
    return scheduling


def together(nodeid: str) -> str:
    """What tests that run in one process have in common."""
    return nodeid.partition("::")[0] if nodeid.startswith(TOGETHER) else nodeid


class AtOnce:
    """Prints each failure when it is known."""

    def __init__(self, terminal: Any) -> None:
        self.terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print what failed, where and how."""
        if report.failed:
            self.terminal.ensure_newline()
            self.terminal.line(f"FAILED {report.nodeid} ({report.when}, {report.duration:.1f} s)")
            self.terminal.line(report.longreprtext)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Watch for failures in the process that prints."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(AtOnce(terminal), "at-once")


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
