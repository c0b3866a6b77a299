"""docs/tutorial/quickstart.md, word by word: its files are written and its commands run as they are printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ci_runner.config.starter import SETUP_PYTHON
from tests.act_kit import ACT, LEFT_OUT, copy_of_the_project

pytestmark = [pytest.mark.needs("sshd"), pytest.mark.needs("git")]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "quickstart.md"
BLOCK = re.compile(
    r"(?:^`(?P<file>[^`\n]+)`:\n\n)?^```(?P<kind>[a-z]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
SECONDS = 240
# What a machine without a network lacks: other people's actions, and an index for pip.
STAND_IN = """\
name: stand-in
description: does nothing
runs:
  using: composite
  steps:
    - shell: bash
      run: "true"
"""
PYTHON = """\
#!/bin/sh
case "$*" in "-m pip install pytest") exit 0 ;; esac
exec {python} "$@"
"""
WRAPPED = """\
#!/bin/sh
exec {act} "$@" {others}
"""


def blocks() -> list[tuple[str | None, str, str]]:
    """File, kind and text of every block of the page."""
    return [(found["file"], found["kind"], found["text"]) for found in BLOCK.finditer(PAGE.read_text())]


def script(folder: Path) -> str:
    """All blocks as one script: files are written where they are printed, commands are run in one shell."""
    lines = ["set -euo pipefail"]
    for number, (file, kind, text) in enumerate(blocks()):
        if file:
            kept = folder / f"block-{number}"
            kept.write_text(text)
            lines.append(f"mkdir -p $(dirname {file}) && cp {kept} {file}")
        elif kind == "sh":
            lines.append(text)
    return "\n".join(lines)


def programs(folder: Path) -> None:
    """What a person has installed, and what stands for other people's actions."""
    folder.mkdir()
    stand_in = folder / "stand-in"
    stand_in.mkdir()
    (stand_in / "action.yml").write_text(STAND_IN)
    workflow = "\n".join(text for _, kind, text in blocks() if kind == "yaml")
    used = re.findall(r"(actions/setup-python)@([0-9a-f]{40})", f"{workflow} {SETUP_PYTHON}")
    others = " ".join(f"--local-repository={name}@{sha}={stand_in}" for name, sha in set(used))
    wrapped = {"act": WRAPPED.format(act=ACT, others=others), "python": PYTHON.format(python=sys.executable)}
    for name, text in {**wrapped, "python3": PYTHON.format(python=sys.executable)}.items():
        path = folder / name
        path.write_text(text)
        path.chmod(0o755)


def environment(folder: Path, kpt: Path) -> dict[str, str]:
    """A person's, whose github.com has the project as it lies here, and whose caches are warm."""
    home = folder / "home"
    (home / ".cache").mkdir(parents=True)
    real = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if (real / "ci-runner" / "uv").is_dir():
        (home / ".cache" / "ci-runner").mkdir()
        (home / ".cache" / "ci-runner" / "uv").symlink_to(real / "ci-runner" / "uv")
    config = f"[url {str(kpt)!r}]\n\tinsteadOf = https://github.com/org/kpt\n".replace("'", '"')
    (home / ".gitconfig").write_text(config + "[user]\n\tname = you\n\temail = you@example.org\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
    path = f"{folder / 'bin'}{os.pathsep}{kept['PATH']}"
    uv_cache = os.environ.get("UV_CACHE_DIR") or str(real / "uv")
    return {
        **kept,
        "HOME": str(home),
        "PATH": path,
        "UV_CACHE_DIR": uv_cache,
        "XDG_CACHE_HOME": str(home / ".cache"),
    }


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    """A new user gets a run here, a workflow, and a TPU with a comment, without a step that the page leaves out."""
    kpt = copy_of_the_project(tmp_path / "origin" / "kpt")
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *words], cwd=kpt, check=True)
    programs(tmp_path / "bin")
    place = tmp_path / "place"
    place.mkdir()
    done = subprocess.run(
        ["bash", "-c", script(tmp_path)],
        cwd=place,
        env=environment(tmp_path, kpt),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-9_000:]
    assert "passed   1 passed in" in done.stdout
    assert "unit" in done.stdout
    assert done.stdout.count("Job succeeded") == 2
    assert "leasing" in said or "lease " in said
    (comment,) = (place / "scratch" / "said").glob("comment-*.md")
    assert re.search(
        r"^### ✅ 1 passed · [0-9.]+ m?s · (under )?\$0\.\d\d$", comment.read_text(), re.MULTILINE
    )
    assert shutil.which("act", path=str(tmp_path / "bin"))
