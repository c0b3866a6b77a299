"""The set-up of a cloud, as printed: what the clouds' own tools say of it, and what comes of it when it is run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
REPOSITORY = "octo-org/octo.repo_1"
SECONDS = 120.0


def printed(cloud: str, *words: str) -> str:
    """What the command prints."""
    done = subprocess.run(
        [str(BIN / "ci-runner"), "doctor", "--print-setup", cloud, "--repository", REPOSITORY, *words],
        stdout=subprocess.PIPE,
        check=True,
        timeout=SECONDS,
        text=True,
    )
    return done.stdout


def checked(*words: str) -> None:
    """A tool that must have nothing to say."""
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


LONGEST = ("--owner-id", "1", "--repository-id", "2", "--history-bucket", "records")
both_ends = pytest.mark.parametrize("words", [(), LONGEST], ids=["shortest", "longest"])


@both_ends
def test_cfn_lint_accepts_the_template(words: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "setup.yaml"
    file.write_text(printed("aws", *words))
    checked(str(BIN / "cfn-lint"), "--include-checks", "I", "--", str(file))


@both_ends
def test_shellcheck_accepts_the_script(words: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "setup.sh"
    file.write_text(printed("gcp", *words))
    checked(str(BIN / "shellcheck"), "--enable=all", "--exclude=SC2310,SC2311,SC2312", str(file))
    checked(str(BIN / "shfmt"), "-d", "-i", "2", "-ci", str(file))
