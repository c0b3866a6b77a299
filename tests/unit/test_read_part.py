"""Reading a file on a machine never waits and never fails for what is no file."""

from __future__ import annotations

import os
from pathlib import Path

from ci_runner.execution.onboard.agent import read_part


def test_what_is_no_file_holds_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"0123456789")
    for name in ("pipe", "folder", "missing", "file/below"):
        assert read_part(str(tmp_path / name), 0, 100) == b""
    assert read_part(str(tmp_path / "file"), 2, 3) == b"234"


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        read_part(str(tmp_path), 0, 100)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
