"""What tests of written workflows share: the gate's own actionlint over any files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from gate.steps import lint_steps, tool


def check_with_actionlint(files: Iterable[Path | str]) -> None:
    """Fail with what actionlint, and shellcheck behind it, say of these workflows."""
    (linter,) = (step for step in lint_steps() if step.name == "actionlint")
    words = tool("go", "tool", "actionlint", "-shellcheck", tool("shellcheck")[0], "-pyflakes", "")
    paths = [str(file) for file in files]
    assert paths
    done = subprocess.run(
        [*words, *paths],
        check=False,
        cwd=linter.cwd,
        env={**os.environ, **linter.environ},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
