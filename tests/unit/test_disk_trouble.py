"""A machine whose disk filled up is named as the cause, and only where something went wrong."""

from __future__ import annotations

import pytest

from ci_runner.execution.attempt import FULL_BYTES, disk_trouble
from ci_runner.remote.base import JobStatus

MAKE_ROOM = " (make room there, or have one with a larger disk)"


def status(**values: object) -> JobStatus:
    return JobStatus(exit_code=1, started_at=1.0, ended_at=2.0, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (status(), None),
        (status(disk_free_bytes=FULL_BYTES), None),
        (status(disk_free_bytes=FULL_BYTES - 1), "the disk of the machine is full"),
        (status(disk_free_bytes=0), "the disk of the machine is full"),
        (
            status(log_error="Disk quota exceeded", disk_free_bytes=1 << 40),
            "the machine could not keep its output: Disk quota exceeded",
        ),
    ],
)
def test_what_the_end_of_a_job_tells_of_the_disk(found: JobStatus, said: str | None) -> None:
    assert disk_trouble(found) == (None if said is None else said + MAKE_ROOM)
