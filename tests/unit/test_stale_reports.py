"""Reports that lie on the machine before a suite runs are removed, however many, or the suite does not run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ci_runner.errors import SetupError
from ci_runner.execution.attempt import AT_ONCE, remove_stale
from ci_runner.model import Suite
from ci_runner.remote.base import Completed
from ci_runner.remote.fake import FakeShell

SUITE = Suite(
    name="go", title="Go", command="true", junit=("j/*.xml",), coverage_files=("c/*.xml", "**/1.xml")
)


def shell_with(count: int, *, exit_code: int = 0) -> tuple[FakeShell, list[list[str]]]:
    shell, asked = FakeShell(), []

    def answer(argv: Sequence[str], _stdin: bytes) -> Completed:
        asked.append(list(argv[4:]))
        return Completed(exit_code=exit_code, stdout=b"", stderr=b"rm: j/0.xml: Permission denied\n")

    shell.answers = answer
    for number in range(count):
        shell.files[f"{shell.work}/j/{number}.xml"] = b"<old/>"
    shell.files[f"{shell.work}/c/old.xml"] = b"<old/>"
    return shell, asked


def test_each_is_named_once_and_no_command_line_is_too_long() -> None:
    shell, asked = shell_with(AT_ONCE + 20)
    remove_stale(shell, SUITE)
    assert [len(paths) for paths in asked] == [AT_ONCE, 21]
    assert set().union(*asked) == {"c/old.xml", *(f"j/{number}.xml" for number in range(AT_ONCE + 20))}


def test_nothing_is_asked_of_the_machine_where_nothing_lies() -> None:
    shell, asked = shell_with(3)
    shell.files.clear()
    remove_stale(shell, SUITE)
    assert asked == []


def test_one_that_cannot_be_removed_is_not_taken_for_a_new_one() -> None:
    shell, _ = shell_with(1, exit_code=1)
    with pytest.raises(SetupError, match=r"old report cannot be removed: rm: .* Permission denied"):
        remove_stale(shell, SUITE)
