"""What the shell runner is told, and what it tells: a flat plan file that bash reads as data, and its status file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote_from_bytes

from ci_runner.errors import ResultsError, UsageError
from ci_runner.model import Shard, Suite

VERSION = "1"
SCRIPT = "run_suite.sh"
PLAN_NAME = "shell.plan"
STATUS_NAME = "shell.status"
TARGET_NAME = "target-{:04}.xml"  # what pytest writes for each target, in the folder of JUnit files
SAFE = "/.:,@+=~-_"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellStatus:
    """What the shell runner says at its end; `junit` are file names in its folder of JUnit files."""

    exit_code: int
    targets: int
    passed: int
    failed: int
    errored: int
    duration_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int | None
    cancelled: str | None
    junit: tuple[str, ...]


def write_shell_plan(
    suite: Suite,
    *,
    python: str,
    junit_dir: str,
    status: str | None = None,
    cwd: str | None = None,
    only: Sequence[str] | None = None,
    shard: Shard | None = None,
    setup: bool = True,
    supervised: bool = False,
) -> bytes:
    """The plan file of a suite. Raises UsageError for text that no file of this format can hold (a NUL byte).

    `supervised` means that a run of ours watches over it: setup, environment, timeout and the suite's own JUnit files
    are then cared for elsewhere, and the shell runner reports a target itself only if the target could not.
    """
    tests = only if only is not None else (shard.tests if shard is not None else None)
    entries: list[tuple[str, str]] = [("shell-plan", VERSION), ("suite", suite.name)]
    entries += [("cwd", cwd)] if cwd is not None else []
    entries += [("python", python), ("junit_dir", junit_dir)]
    entries += [("status", status)] if status is not None else []
    entries += _care(suite, setup=setup, supervised=supervised)
    if suite.command is not None:
        entries.append(("command", suite.command))
    else:
        entries += [("target", test) for test in suite.tests]
        entries += [("only", test) for test in tests or ()]
        entries += [("pytest_arg", argument) for argument in suite.pytest_args]
        entries += [("workers", suite.workers)] if suite.workers is not None else []
        if tests is None and shard is not None and shard.total > 1:
            entries.append(("shard", f"{shard.index}/{shard.total}"))
    return encode(entries)


def _care(suite: Suite, *, setup: bool, supervised: bool) -> list[tuple[str, str]]:
    entries = [("allow_empty", "yes")] if suite.allow_empty else []
    if supervised:
        entries += [("supervised", "yes"), ("own_junit", "missing")]
    else:
        entries.append(("timeout", str(math.ceil(suite.timeout_seconds))))
        entries += [("env", f"{_checked(name)}={value}") for name, value in suite.env.items()]
    if setup and suite.setup:
        entries.append(("setup_timeout", str(math.ceil(suite.setup_timeout_seconds))))
        entries += [("setup", command) for command in suite.setup]
    return entries


def _checked(name: str) -> str:
    if not NAME.match(name):
        raise UsageError(
            f"{name!r} cannot be the name of an environment variable",
            fix="use letters, digits and underscores, and no digit first",
        )
    return name


def encode(entries: Sequence[tuple[str, str]]) -> bytes:
    """Keys and values as lines; every byte of a value but the plainest is percent-encoded."""
    lines = []
    for key, value in entries:
        data = value.encode("utf-8", "surrogateescape")
        if b"\0" in data:
            raise UsageError(
                f"{key} holds a NUL byte, which the shell runner cannot take", fix="remove it from the name"
            )
        lines.append(f"{key}={quote_from_bytes(data, safe=SAFE)}\n")
    return "".join(lines).encode("ascii")


def shell_command(
    suite: Suite,
    *,
    python: str,
    work: str,
    attempt_folder: str,
    shell_fallback: str,
    only: Sequence[str] | None,
    shard: Shard | None,
) -> tuple[list[str], dict[str, str], dict[str, bytes]]:
    """argv, environment and files (by name in the attempt's folder) that run a suite through the shell runner.

    Paths are the machine's. JUnit goes to `junit/` in the attempt's folder, the status to `shell.status` there.
    """
    plan = write_shell_plan(
        suite,
        python=python,
        cwd=work,
        junit_dir=f"{attempt_folder}/junit",
        status=f"{attempt_folder}/{STATUS_NAME}",
        only=only,
        shard=shard,
        setup=False,
        supervised=True,
    )
    argv = ["bash", f"{shell_fallback}/{SCRIPT}", f"{attempt_folder}/{PLAN_NAME}"]
    return argv, {}, {PLAN_NAME: plan}


def read_shell_status(data: bytes) -> ShellStatus:
    """The status file of the shell runner. Raises ResultsError if it is cut off or no such file."""
    fields: dict[str, list[str]] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        key, _equals, value = line.partition("=")
        fields.setdefault(key, []).append(value)
    try:
        return _status(fields)
    except (KeyError, ValueError) as error:
        raise ResultsError(
            f"the status of the shell runner cannot be read: {error}",
            where=STATUS_NAME,
            fix="read the log: the shell runner was killed, or the disk is full",
        ) from error


def _status(fields: Mapping[str, Sequence[str]]) -> ShellStatus:
    if fields["shell-status"] != [VERSION]:
        raise ValueError(f"version {fields['shell-status'][0]!r}")
    peak, cancelled = fields.get("peak_memory_bytes"), fields.get("cancelled")
    return ShellStatus(
        exit_code=int(fields["exit_code"][0]),
        targets=int(fields["targets"][0]),
        passed=int(fields["passed"][0]),
        failed=int(fields["failed"][0]),
        errored=int(fields["errored"][0]),
        duration_seconds=float(fields["duration_seconds"][0]),
        cpu_seconds=float(fields["cpu_seconds"][0]),
        peak_memory_bytes=int(peak[0]) if peak else None,
        cancelled=cancelled[0] if cancelled else None,
        junit=tuple(name for name in fields.get("junit", ()) if "/" not in name),
    )
