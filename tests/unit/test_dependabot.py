"""Dependabot looks after everything that is pinned in the repository, and waits before it proposes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pytest

yaml: Any = importlib.import_module("yaml")  # it brings no types
ROOT = Path(__file__).resolve().parents[2]
# what names a pinned thing, by its kind; test data and examples are nobody's dependencies
MANIFESTS = {
    "uv": "uv.lock",
    "gomod": "go.mod",
    "docker": "Dockerfile*",
    "npm": "package-lock.json",
    "github-actions": "*.y*ml",
}
SKIPPED = ("data", "examples", "node_modules", "__pycache__")


@cache
def updates() -> list[Mapping[str, Any]]:
    """What Dependabot is told to look at."""
    found: list[Mapping[str, Any]] = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text("utf-8"))[
        "updates"
    ]
    return found


def folders(update: Mapping[str, Any]) -> list[str]:
    """The folders of one of them, as patterns."""
    return list(update.get("directories") or [update["directory"]])


def files() -> Iterator[Path]:
    """The project's own files: hidden folders are other programs', but for GitHub's."""
    for folder, names, found in os.walk(ROOT):
        names[:] = [
            name for name in names if name not in SKIPPED and (not name.startswith(".") or name == ".github")
        ]
        yield from (Path(folder) / name for name in found)


def pinned() -> Iterator[tuple[str, Path]]:
    """Every file that pins something, with its kind."""
    for path in files():
        for kind, pattern in MANIFESTS.items():
            if fnmatch(path.name, pattern) and (
                kind != "github-actions" or "uses: " in path.read_text("utf-8")
            ):
                yield kind, path.relative_to(ROOT)


def folder_of(kind: str, path: Path) -> str:
    """Where Dependabot would look for the file."""
    if kind == "github-actions" and path.parent == Path(".github/workflows"):
        return "/"  # which means this folder too
    return "/" + ("" if path.parent == Path() else path.parent.as_posix())


@pytest.mark.parametrize("kind", MANIFESTS)
def test_every_pinned_thing_is_looked_after(kind: str) -> None:
    patterns = [
        pattern for update in updates() if update["package-ecosystem"] == kind for pattern in folders(update)
    ]
    found = [path for known, path in pinned() if known == kind]
    assert found
    assert [
        path.as_posix()
        for path in found
        if not any(fnmatch(folder_of(kind, path), pattern) for pattern in patterns)
    ] == []


@pytest.mark.parametrize("update", updates(), ids=lambda update: update["package-ecosystem"])
def test_it_looks_where_there_is_something_waits_and_proposes_once(update: Mapping[str, Any]) -> None:
    for pattern in folders(update):
        assert any(ROOT.glob(pattern.strip("/") or "*")), pattern
    assert update["cooldown"]["default-days"] >= 7
    assert [group["patterns"] for group in update["groups"].values()] == [["*"]]
