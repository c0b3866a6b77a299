"""What can go wrong while setting up: one line on what happened, one on what to do, and an exit code."""

from __future__ import annotations

from typing import ClassVar

USAGE = 2  # the same numbers as ci_runner/errors.py, which cannot be imported before there is an environment
SETUP_FAILED = 8
CANCELLED = 130


class SetupProblem(Exception):  # noqa: N818 - not only errors: also refusals
    """Setting up cannot go on; a person reads the two lines."""

    code: ClassVar[int] = SETUP_FAILED

    def __init__(self, what: str, *, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def lines(self) -> str:
        """The two lines, without line breaks from elsewhere in them."""
        return f"ci-runner: error: {one_line(self.what)}\nfix: {one_line(self.fix)}"


class Refused(SetupProblem):
    """The request itself cannot be served: a wrong name, a wrong place, a lock that does not fit."""

    code = USAGE


class Unreachable(SetupProblem):
    """The package index did not answer."""


def one_line(text: str) -> str:
    """The text without control characters, line breaks and commands to a CI runner: it may come from a server."""
    line = " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())
    return line.replace("##[", "##\\[")
