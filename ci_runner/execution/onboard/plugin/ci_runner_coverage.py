"""A pytest plugin that measures which lines run, in the session and in each worker of pytest-xdist.

Loaded beside the sidecar on whatever machine runs the tests: Python 3.9 syntax, and of libraries only coverage.py, which
the suite's own environment has to have. CI_RUNNER_COVERAGE names the file of JSON that is written at the end; beside it a
file with the ending `.missing` says why there is none.
"""

from __future__ import annotations

import os
from typing import Any, Optional

TARGET = os.environ.get("CI_RUNNER_COVERAGE", "")


class Measured:
    """One process that measures; the first one also joins what all of them wrote."""

    def __init__(self, coverage: Any, target: str) -> None:
        self.coverage = coverage
        self.target = target
        self.pid = os.getpid()
        self.data = os.path.join(os.path.dirname(target), "data")
        self.running: Any = coverage.Coverage(data_file=self.data, data_suffix=True, source=[os.getcwd()])
        self.running.start()

    def stop(self) -> None:
        """Write what this process has seen."""
        if self.running is not None and os.getpid() == self.pid:
            self.running.stop()
            self.running.save()
            self.running = None

    def join(self) -> None:
        """One file of JSON of what all processes have seen."""
        whole = self.coverage.Coverage(data_file=self.data, source=[os.getcwd()])
        try:
            whole.combine([os.path.dirname(self.data)])
            whole.json_report(outfile=self.target)
        except self.coverage.exceptions.CoverageException as error:
            say_why("%s" % error)


def say_why(text: str) -> None:
    """Leave a word where the report would be."""
    with open(TARGET + ".missing", "w", encoding="utf-8", errors="replace") as file:
        file.write(text[:2000])


def begin() -> Optional[Measured]:
    """Begin to measure, before anything of the project is imported."""
    if not TARGET:
        return None
    os.makedirs(os.path.dirname(TARGET), exist_ok=True)
    try:
        import coverage
        import coverage.exceptions
    except ImportError as error:
        say_why("coverage.py is not installed where the tests run: %s" % error)
        return None
    return Measured(coverage, TARGET)


MEASURED = begin()


def pytest_sessionfinish() -> None:
    """Stop when the last test has run."""
    if MEASURED is not None:
        MEASURED.stop()


def pytest_unconfigure(config: Any) -> None:
    """Join at the very end, when the workers have ended; a worker has nobody to join."""
    if MEASURED is None:
        return
    MEASURED.stop()
    if not hasattr(config, "workerinput"):
        MEASURED.join()
