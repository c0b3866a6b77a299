"""What the shell runner is told and what it tells, as bytes; tests/integration runs the script on it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.errors import ResultsError, UsageError
from ci_runner.execution.shell_plan import (
    PLAN_NAME,
    encode,
    read_shell_status,
    shell_command,
    write_shell_plan,
)
from ci_runner.model import Shard, Suite

SUITE = Suite(
    name="docs test",
    title="",
    tests=("tests/test_docs.py", "tests/test_tutorials.py"),
    setup=("pip install .",),
    pytest_args=("-q",),
    workers="2",
    env={"MODE": "a b"},
    timeout_seconds=90.2,
    allow_empty=True,
)
STATUS = b"""shell-status=1
targets=3
passed=1
failed=1
errored=1
duration_seconds=1.500
cpu_seconds=0.250
peak_memory_bytes=1000
cancelled=TERM
junit=target-0001.xml
junit=../../etc/passwd
junit=shell-runner.xml
exit_code=130
"""


def plan(suite: Suite = SUITE, **more: object) -> list[str]:
    return write_shell_plan(suite, python="python3", junit_dir="/j", **more).decode().splitlines()  # type: ignore[arg-type]


def test_a_plan_that_stands_by_itself_says_everything() -> None:
    assert plan(status="/s", cwd="/w") == [
        "shell-plan=1",
        "suite=docs%20test",
        "cwd=/w",
        "python=python3",
        "junit_dir=/j",
        "status=/s",
        "allow_empty=yes",
        "timeout=91",
        "env=MODE=a%20b",
        "setup_timeout=600",
        "setup=pip%20install%20.",
        "target=tests/test_docs.py",
        "target=tests/test_tutorials.py",
        "pytest_arg=-q",
        "workers=2",
    ]


def test_under_supervision_setup_time_and_environment_are_left_to_others() -> None:
    argv, env, files = shell_command(
        SUITE,
        python="python3",
        work="/w",
        attempt_folder="/a",
        shell_fallback="/f",
        only=["t.py::test x"],
        shard=None,
    )
    assert argv == ["bash", "/f/run_suite.sh", f"/a/{PLAN_NAME}"]
    assert env == {}
    lines = files[PLAN_NAME].decode().splitlines()
    assert {"supervised=yes", "own_junit=missing", "junit_dir=/a/junit", "only=t.py::test%20x"} <= set(lines)
    assert not [line for line in lines if line.startswith(("setup", "timeout", "env"))]


@pytest.mark.parametrize(
    ("only", "shard", "expected"),
    [
        (None, None, []),
        (None, Shard(index=1, total=1), []),
        (None, Shard(index=2, total=3), ["shard=2/3"]),
        (None, Shard(index=2, total=3, tests=("a",)), ["only=a"]),
        (["b"], Shard(index=2, total=3, tests=("a",)), ["only=b"]),
    ],
)
def test_the_nearest_word_on_which_tests_to_run_counts(
    only: list[str] | None, shard: Shard | None, expected: list[str]
) -> None:
    assert [line for line in plan(only=only, shard=shard) if line.startswith(("only", "shard="))] == expected


def test_a_command_stands_instead_of_targets() -> None:
    lines = plan(Suite(name="go", title="", command="go test ./...", workers="2"))
    assert lines[-1] == "command=go%20test%20./..."
    assert not [line for line in lines if line.startswith(("target", "workers"))]


@given(st.lists(st.tuples(st.sampled_from(["a", "b_c"]), st.text().filter(lambda text: "\0" not in text))))
def test_every_line_is_plain_ascii_whatever_the_text(entries: list[tuple[str, str]]) -> None:
    lines = [
        line
        for line in encode([(key, value) for key, value in entries if _encodable(value)]).split(b"\n")
        if line
    ]
    assert all(re.fullmatch(rb"[a-z_]+=(?:[A-Za-z0-9_./:,@+=~-]|%[0-9A-F]{2})*", line) for line in lines)


def _encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def test_what_no_plan_can_hold_is_refused() -> None:
    with pytest.raises(UsageError, match="NUL"):
        plan(only=["a\0b"])
    with pytest.raises(UsageError, match="environment variable"):
        plan(Suite(name="x", title="", tests=("t",), env={"A B": "c"}))


def test_the_status_is_read_and_names_outside_of_the_folder_are_dropped() -> None:
    status = read_shell_status(STATUS)
    assert (status.exit_code, status.targets, status.passed, status.failed, status.errored) == (
        130,
        3,
        1,
        1,
        1,
    )
    assert (status.duration_seconds, status.cpu_seconds, status.peak_memory_bytes) == (1.5, 0.25, 1000)
    assert (status.cancelled, status.junit) == ("TERM", ("target-0001.xml", "shell-runner.xml"))
    short = read_shell_status(re.sub(rb"(peak_memory_bytes|cancelled)=.*\n", b"", STATUS))
    assert (short.peak_memory_bytes, short.cancelled) == (None, None)


@pytest.mark.parametrize("length", range(0, len(STATUS) - len("exit_code=130\n") + 1, 7))
def test_a_status_that_is_cut_off_is_no_status(length: int) -> None:
    with pytest.raises(ResultsError, match="cannot be read"):
        read_shell_status(STATUS[:length])


@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b"shell-status=2\nexit_code=0\n", STATUS.replace(b"targets=3", b"targets=x")]
)
def test_what_is_no_status_is_refused(data: bytes) -> None:
    with pytest.raises(ResultsError, match="cannot be read"):
        read_shell_status(data)
