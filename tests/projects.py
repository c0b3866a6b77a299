"""Small real repositories for the integration tests, and the command run in them as a person would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 120.0


@dataclass(frozen=True)
class Ended:
    """What a command left: exit code, what it printed, and the object if it printed one."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value

    def __str__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


@dataclass(frozen=True)
class Project:
    """A git repository with tests, and a home of its own for everything ci-runner keeps."""

    root: Path
    home: Path

    def write(self, files: Mapping[str, str]) -> None:
        """Put files into the working tree without committing them."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def commit(self, message: str = "Change") -> str:
        """Commit everything and return the hash."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *words: str) -> str:
        """Run git in the repository."""
        done = subprocess.run(
            ["git", *words], cwd=self.root, env=self.environ(), capture_output=True, text=True, check=True
        )
        return done.stdout

    def environ(self, **changes: str) -> dict[str, str]:
        """A person's environment: no CI, no configuration of the machine that runs these tests."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in {"PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH"}
        }
        kept |= {
            # how to measure says where to write as well; the bare name of the file would reach a suite's own pytest-cov
            name: value
            for name, value in os.environ.items()
            if name.startswith("COVERAGE_PROCESS_")
        }
        return kept | {
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@example.org",
            "PYTHONDONTWRITEBYTECODE": "1",
            **changes,
        }

    def command(self, *words: str) -> list[str]:
        """The command line of ci-runner."""
        return [sys.executable, "-m", "ci_runner", *words]

    def ci(self, *words: str, cwd: Path | None = None, **environ: str) -> Ended:
        """Run ci-runner in the repository and wait for its end."""
        done = subprocess.run(
            self.command(*words),
            cwd=cwd or self.root,
            env=self.environ(**environ),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def last_run(self) -> Path:
        """The newest run folder."""
        return max((self.root / ".ci-runner" / "runs").iterdir())

    def load(self, name: str) -> Any:
        """A JSON file of the newest run folder."""
        return json.loads((self.last_run() / name).read_text(encoding="utf-8"))


def make_project(folder: Path, files: Mapping[str, str], *, configuration: str | None = "") -> Project:
    """A committed repository; with configuration, its machine runs tests in this interpreter."""
    root, home = folder / "repo", folder / "home"
    root.mkdir(parents=True)
    home.mkdir()
    project = Project(root=root, home=home)
    project.git("init", "-q", "-b", "main")
    project.write(files)
    if configuration is not None:
        machine = f"[machines.local]\npython = {json.dumps(sys.executable)}\n"
        project.write({"ci-runner.toml": f"{configuration}\n{machine}"})
    project.commit("Start")
    return project
