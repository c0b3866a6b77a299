"""Where configuration lies: files upwards and at home."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

TEAM_FILE = "ci-runner.toml"
LOCAL_FILE = "ci-runner.local.toml"
PREFIX = "CI_RUNNER_"
# What the rest of ci-runner passes on by variables, and what GitLab tells its jobs about its own runner.
NOT_SETTINGS = frozenset(
    {"CALL", "COVERAGE", "EXTRAS", "GROUPS", "HOME", "JOB", "LEASE", "SELECT", "SIDECAR", "STACKS", "VENV"}
    | {"DESCRIPTION", "EXECUTABLE_ARCH", "ID", "REVISION", "SHORT_TOKEN", "TAGS", "VERSION"}
)


def find_team_file(start: Path) -> Path | None:
    """ci-runner.toml in the folder or above it, no further up than the top of the repository."""
    for folder in (start, *start.parents):
        if os.path.lexists(folder / TEAM_FILE):
            return folder / TEAM_FILE
        if os.path.lexists(folder / ".git"):
            return None
    return None


def top_of(start: Path) -> Path:
    """The top of the repository around a folder, or the folder itself."""
    return next((folder for folder in (start, *start.parents) if os.path.lexists(folder / ".git")), start)


def personal_file(environ: Mapping[str, str]) -> Path | None:
    """~/.config/ci-runner/config.toml, wherever XDG_CONFIG_HOME puts it."""
    base = environ.get("XDG_CONFIG_HOME", "")
    if not base.startswith("/"):  # a relative one does not count, says the specification
        base = f"{environ['HOME']}/.config" if environ.get("HOME") else ""
    return Path(base, "ci-runner", "config.toml") if base.startswith("/") else None


def sources_of(start: Path, environ: Mapping[str, str], config_file: Path | None) -> tuple[Path, list[Path]]:
    """The folder that the configuration is about, and the files that may say something, the strongest last."""
    start = start.absolute()
    team = config_file.absolute() if config_file is not None else find_team_file(start)
    root = team.parent if team is not None else top_of(start)
    return root, [path for path in (team, personal_file(environ), root / LOCAL_FILE) if path is not None]


def is_setting(variable: str) -> bool:
    """Whether a variable of the environment may set something."""
    return variable.startswith(PREFIX) and variable.removeprefix(PREFIX) not in NOT_SETTINGS
