"""What a repository without configuration seems to have: suites, from the files that every ecosystem leaves at its root."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any

from ci_runner.config.peek import ini_of, is_file, table_in, text_of, toml_of
from ci_runner.model import Suite, When

EVENTS = (  # all that ask for tests
    "push",
    "pull_request",
    "merge_group",
    "schedule",
    "workflow_dispatch",
    "workflow_call",
    "repository_dispatch",
)
TEST_FOLDERS = ("tests", "test", "testing")
SKIPPED = frozenset(
    {"node_modules", "venv", "env", "build", "dist", "target", "site-packages", "__pycache__", "vendor"}
)
ENTRIES = 20_000  # of a tree; a file of tests that is beyond them is not found by itself
DEPTH = 6
PATHS = 50  # that a glob of testpaths may come to; with more, the folder that holds them all is taken
PYTEST_FILES = ("test_*.py", "*_test.py")
UNITTEST_FILES = "test*.py"  # what `python -m unittest` takes and pytest does not
INSTALLS = (  # the lock file of a package manager, and the command that obeys it
    ("package-lock.json", "npm ci"),
    ("npm-shrinkwrap.json", "npm ci"),
    ("pnpm-lock.yaml", "pnpm install --frozen-lockfile"),
    ("yarn.lock", "yarn install --frozen-lockfile"),
)
_MAGIC = re.compile(r"[*?\[]")
_ENABLED = re.compile(r"^\s*(enable_testing\s*\(|include\s*\(\s*CTest\s*\))", re.IGNORECASE | re.MULTILINE)
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")  # safe in a command


def detected_suites(root: Path) -> list[Suite]:
    """The suites that the repository seems to have; none if nothing looks like tests. Reads files and runs nothing."""
    found = (_python(root), _go(root), _rust(root), _javascript(root), _cmake(root))
    return [suite for suite in found if suite is not None]


def unconfigured_suites(root: Path) -> dict[str, Suite]:
    """The suites of a repository without configuration: each is due for whatever happens."""
    when = When(events=EVENTS)
    return {suite.name: dataclasses.replace(suite, when=when) for suite in detected_suites(root)}


def missing_pieces(root: Path, suites: Sequence[Suite]) -> list[str]:
    """What the repository still lacks before the suites that were found can work, in sentences."""
    if any(suite.name == "rust" for suite in suites) and _nextest(root) is None:
        return [
            'rust: cargo nextest writes no JUnit before .config/nextest.toml has [profile.ci.junit] path = "junit.xml"'
        ]
    return []


def _python(root: Path) -> Suite | None:
    settings = _pytest_settings(root)
    patterns = _words(settings.get("python_files")) or list(PYTEST_FILES)
    paths = _configured_paths(root, _words(settings.get("testpaths"))) or _folders_with(root, patterns)
    if paths:
        return Suite(name="unit", title="unit", tests=tuple(paths))
    paths = _folders_with(root, [UNITTEST_FILES], holding="unittest")
    if paths:
        arguments = ("-o", f"python_files={UNITTEST_FILES}")
        return Suite(name="unit", title="unit", tests=tuple(paths), pytest_args=arguments)
    return None


def _pytest_settings(root: Path) -> Mapping[str, Any]:
    """The settings that pytest itself would use: those of the first file that speaks of pytest, in pytest's order."""
    for name in ("pytest.toml", ".pytest.toml"):
        if is_file(root / name):
            return table_in(toml_of(root / name), "pytest") or {}
    for name in ("pytest.ini", ".pytest.ini"):
        if is_file(root / name):
            return ini_of(root / name, "pytest") or {}
    tool = table_in(toml_of(root / "pyproject.toml"), "tool", "pytest")
    if tool:
        return table_in(tool, "ini_options") or tool
    for name, section in (("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        if (found := ini_of(root / name, section)) is not None:
            return found
    return {}


def _configured_paths(root: Path, words: Sequence[str]) -> list[str]:
    """The testpaths that are there, with globs resolved; only plain paths inside the project count."""
    found: dict[str, None] = {}
    for word in words:
        if word.startswith(("/", "-")) or ".." in word.split("/") or not word.isprintable():
            continue
        for path in _resolved(root, word.removeprefix("./").rstrip("/") or "."):
            if os.path.exists(root / path):  # noqa: PTH110 - a name that is too long raises in Path.exists
                found[path] = None
    return list(found)


def _resolved(root: Path, word: str) -> list[str]:
    """The paths that a glob stands for; for a deep one, or one with many, the folder above its first wildcard."""
    parts = word.split("/")
    first = next((number for number, part in enumerate(parts) if _MAGIC.search(part)), None)
    if first is None:
        return [word]
    if "**" not in word:
        try:
            matches = list(islice(root.glob(word), PATHS + 1))
        except OSError:  # a name that is too long
            return []
        if len(matches) <= PATHS:
            return sorted(
                path
                for match in matches
                if (path := match.relative_to(root).as_posix()).isprintable() and not path.startswith("-")
            )
    return ["/".join(parts[:first]) or "."]


def _folders_with(root: Path, patterns: Sequence[str], *, holding: str = "") -> list[str]:
    """The usual folders of tests that hold such files, else the whole project if it does."""
    usual = [name for name in TEST_FOLDERS if _has_file(root / name, patterns, holding)]
    return usual or (["."] if _has_file(root, patterns, holding) else [])


def _has_file(folder: Path, patterns: Sequence[str], holding: str) -> bool:
    return any(not holding or holding in text_of(path) for path in _python_files(folder, patterns))


def _python_files(folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """Python files of these names, near ones first, without walking through what is not the project's own."""
    left, waiting = ENTRIES, deque([(folder, 0)])
    while waiting and left > 0:
        at, depth = waiting.popleft()
        try:
            with os.scandir(at) as scan:
                entries = [(entry, entry.is_dir(follow_symlinks=False)) for entry in islice(scan, left)]
        except OSError:
            continue
        left -= len(entries)
        for entry, is_folder in sorted(entries, key=lambda item: item[0].name):
            name = entry.name
            if is_folder:
                if depth < DEPTH and name not in SKIPPED and not name.startswith("."):
                    waiting.append((Path(entry.path), depth + 1))
            elif name.endswith(".py") and any(fnmatchcase(name, pattern) for pattern in patterns):
                yield Path(entry.path)


def _go(root: Path) -> Suite | None:
    if not is_file(root / "go.mod"):
        return None
    return Suite(name="go", title="go", command="gotestsum --junitfile junit.xml ./...", junit=("junit.xml",))


def _rust(root: Path) -> Suite | None:
    if not is_file(root / "Cargo.toml"):
        return None
    profile, path = _nextest(root) or ("ci", "target/nextest/ci/junit.xml")
    command = f"cargo nextest run --profile {profile}"
    return Suite(name="rust", title="rust", command=command, junit=(path,))


def _nextest(root: Path) -> tuple[str, str] | None:
    """The profile of nextest that writes JUnit, `ci` before others, and where the file goes; None without one."""
    config = toml_of(root / ".config" / "nextest.toml")
    store = (table_in(config, "store") or {}).get("dir", "target/nextest")
    profiles = table_in(config, "profile") or {}
    for name in sorted(profiles, key=lambda name: name != "ci"):
        parts = [store, name, (table_in(profiles, name, "junit") or {}).get("path")]
        if all(isinstance(part, str) and _PLAIN.fullmatch(part) for part in parts) and "/" not in name:
            return name, "/".join(parts)
    return None


def _javascript(root: Path) -> Suite | None:
    try:
        package = json.loads(text_of(root / "package.json"))
    except (ValueError, RecursionError):
        return None
    needs = {
        name for key in ("dependencies", "devDependencies") for name in table_in(package, key) or () if name
    }
    if "vitest" in needs:
        command = "npx vitest run --reporter=default --reporter=junit --outputFile.junit=junit.xml"
    elif {"jest", "jest-junit"} <= needs:
        command = "JEST_JUNIT_OUTPUT_FILE=junit.xml npx jest --reporters=default --reporters=jest-junit"
    else:
        return None
    install = next((command for lock, command in INSTALLS if is_file(root / lock)), "npm install")
    return Suite(name="js", title="js", command=command, junit=("junit.xml",), setup=(install,))


def _cmake(root: Path) -> Suite | None:
    if not _ENABLED.search(text_of(root / "CMakeLists.txt")):
        return None
    command = (  # ctest would take a relative path from the build folder
        'cmake -S . -B build && cmake --build build && ctest --test-dir build --output-junit "$PWD/junit.xml"'
    )
    return Suite(name="cmake", title="cmake", command=command, junit=("junit.xml",))


def _words(value: Any) -> list[str]:
    """The words of a setting that may be a list or one text."""
    words = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return [word for word in words if isinstance(word, str) and word]
