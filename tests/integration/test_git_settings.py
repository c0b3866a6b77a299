"""Settings that we write for git are those that git reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_runner.providers.staging import config_text

VALUES = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=30)


@given(value=VALUES, remote=VALUES.filter(lambda text: not {"\n", "\t"} & set(text)))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_git_reads_what_was_meant(value: str, remote: str, tmp_path: Path) -> None:
    wanted = {"core.hooksPath": value, f"remote.{remote}x.url": value, "gc.auto": "0"}
    file = tmp_path / "config"
    file.write_text(config_text(wanted), encoding="utf-8", newline="")
    listed = subprocess.run(
        ["git", "config", "--file", file, "--list", "-z"], capture_output=True, check=True, timeout=60
    ).stdout.decode()
    found = dict(entry.split("\n", 1) for entry in listed.split("\0") if entry)
    assert found == {"core.hookspath": value, f"remote.{remote}x.url": value, "gc.auto": "0"}
