"""A pytest plugin that measures which lines run, in the session and in each worker of pytest-xdist.

Loaded beside the sidecar on whatever machine runs the tests: Python 3.9 syntax, and of libraries only coverage.py, which
the suite's own environment has to have. CI_RUNNER_COVERAGE names the file of JSON that is written at the end; beside it a
file with the ending `.missing` says why there is none. Nothing of it ever fails a test or the session.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import Any, Optional

import pytest

TARGET = os.environ.get("CI_RUNNER_COVERAGE", "")


class Measured:
    """One process that measures; the first one also joins what all of them wrote."""

    def __init__(self, coverage: Any, target: str) -> None:
        self.coverage = coverage
        self.target = target
        self.pid = os.getpid()
        self.gone = False
        self.data = os.path.join(os.path.dirname(target), "data")
        self.source: Any = [os.getcwd()]
        self.running: Any = coverage.Coverage(data_file=self.data, data_suffix=True)
        if any(self.running.get_option("run:%s" % name) for name in ("source", "source_pkgs", "include")):
            self.source = None  # the project says itself what is measured
        else:
            self.running = coverage.Coverage(data_file=self.data, data_suffix=True, source=self.source)
        self.running.start()

    def stop(self) -> None:
        """Write what this process has seen."""
        if self.running is not None and os.getpid() == self.pid:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PYTHONWARNINGS=error would make the session fail
                self.running.stop()
                self.running.save()
            self.running = None

    def join(self) -> None:
        """One file of JSON of what all processes have seen, less the files that are gone or were no Python."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._join()

    def _join(self) -> None:
        try:
            whole = self.coverage.Coverage(data_file=self.data, source=self.source)
            whole.combine([os.path.dirname(self.data)])
            whole.json_report(outfile=self.target, ignore_errors=True)
        except self.coverage.exceptions.CoverageException as error:
            say_why("%s" % error, "run `coverage run -m pytest` and `coverage json` in this place")


def say_why(text: str, fix: str) -> None:
    """Leave a word where the report would be."""
    with open(TARGET + ".missing", "w", encoding="utf-8", errors="replace") as file:
        file.write("%s\nfix: %s" % (" ".join(text.split())[:400], fix))


def begin() -> Optional[Measured]:
    """Begin to measure, before anything of the project is imported."""
    if not TARGET:
        return None
    os.makedirs(os.path.dirname(TARGET), exist_ok=True)
    try:
        import coverage
        import coverage.exceptions
    except ImportError as error:
        say_why(
            "coverage.py is not installed where the tests run: %s" % error,
            "pip install coverage where the suite runs, or leave coverage out of its configuration",
        )
        return None
    try:
        return Measured(coverage, TARGET)
    except coverage.exceptions.CoverageException as error:
        say_why("%s" % error, "correct what the project tells coverage.py")
        return None


MEASURED = begin()


def make_way(options: Any) -> None:
    """Stop for good where pytest-cov measures: of two at once, the outer one sees nothing and would tell 0 %."""
    if MEASURED is None or MEASURED.running is None:
        return
    if getattr(options, "no_cov", False) or not getattr(options, "cov_source", None):
        return
    MEASURED.running.stop()
    MEASURED.running, MEASURED.gone = None, True
    say_why(
        "pytest-cov measures already, as --cov says",
        "leave --cov out, or write --cov-report=xml and name coverage.xml in coverage-files instead of coverage",
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_load_initial_conftests(early_config: Any) -> Iterator[None]:
    """Before pytest-cov begins, which it does here."""
    make_way(early_config.known_args_namespace)
    yield


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: Any) -> None:
    """A worker of pytest-xdist learns its options later."""
    make_way(config.option)


def pytest_sessionfinish() -> None:
    """Stop when the last test has run."""
    if MEASURED is not None:
        MEASURED.stop()


def pytest_unconfigure(config: Any) -> None:
    """Join at the very end, when the workers have ended; a worker has nobody to join."""
    if MEASURED is None or MEASURED.gone:
        return
    MEASURED.stop()
    if not hasattr(config, "workerinput"):
        MEASURED.join()
