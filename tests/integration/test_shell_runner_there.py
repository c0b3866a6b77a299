"""The shell runner on leased machines: what it found comes back, as from this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clouds_kit import Clouds, both_clouds

pytestmark = pytest.mark.needs("sshd")
TESTS = "def test_a(): pass\n\ndef test_b(): assert 1 == 2\n"


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[Clouds]:
    with both_clouds(tmp_path, {"tests/test_a.py": TESTS}) as found:
        yield found


def test_what_the_shell_runner_found_there_is_what_it_finds_here(clouds: Clouds) -> None:
    here = clouds.run("--runner", "shell")
    assert here.code == 1, here
    cases = clouds.cases()
    assert sorted(cases.values()) == ["failed", "passed"]
    there = clouds.run("--machine", "tpu", "--runner", "shell")
    assert there.code == 1, there
    assert clouds.cases() == cases
    assert clouds.project.load("record.json")["runner"] == "shell"
    assert clouds.left() == []


def test_what_a_killed_shell_runner_had_found_there_is_told(clouds: Clouds) -> None:
    """Without its status nobody says which files there are; those of the targets that ended are found all the same."""
    kill = "import os, signal\n\ndef test_z():\n    os.kill(os.getppid(), signal.SIGKILL)\n"
    clouds.project.write(
        {
            "tests/test_z.py": kill,
            "ci-runner.toml": (clouds.project.root / "ci-runner.toml")
            .read_text("utf-8")
            .replace('tests = ["tests"]', 'tests = ["tests/test_a.py", "tests/test_z.py"]'),
        }
    )
    ended = clouds.run("--machine", "tpu", "--runner", "shell")
    assert ended.code == 9, ended
    found = clouds.cases()
    assert sorted(outcome for name, outcome in found.items() if "test_a" in name) == ["failed", "passed"], (
        found
    )
    assert clouds.left() == []
