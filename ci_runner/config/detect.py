"""What a repository without configuration seems to have: suites, from the files that every ecosystem leaves at its root."""

from __future__ import annotations

import configparser
import json
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ci_runner.model import Suite

TEST_FOLDERS = ("tests", "test", "testing")
SKIPPED = frozenset(
    {"node_modules", "venv", "env", "build", "dist", "target", "site-packages", "__pycache__", "vendor"}
)
ENTRIES = 20_000  # of a tree; a file of tests that is beyond them is not found by itself
DEPTH = 6
READ_LIMIT = 1 << 20
_TEST_FILE = re.compile(r"(test_.*|.*_test)\.py\Z")
_ENABLED = re.compile(r"^\s*enable_testing\s*\(", re.IGNORECASE | re.MULTILINE)


def detected_suites(root: Path) -> list[Suite]:
    """The suites that the repository seems to have; none if nothing looks like tests. Reads files and runs nothing."""
    found = (_python(root), _go(root), _rust(root), _javascript(root), _cmake(root))
    return [suite for suite in found if suite is not None]


def _python(root: Path) -> Suite | None:
    paths = [path for path in _configured_paths(root) if (root / path).exists()]
    if not paths:
        paths = [name for name in TEST_FOLDERS if next(_test_files(root / name), None) is not None]
    if not paths and next(_test_files(root), None) is not None:
        paths = ["."]
    if not paths:
        return None
    return Suite(name="unit", title="unit", tests=tuple(paths))


def _configured_paths(root: Path) -> list[str]:
    """What pytest's own configuration names as testpaths; only plain paths inside the project count."""
    value: Any = _nested(_toml(root / "pyproject.toml"), "tool", "pytest", "ini_options", "testpaths")
    if value is None:
        value = _nested(_toml(root / "pyproject.toml"), "tool", "pytest", "testpaths")
    for name, section in (("pytest.ini", "pytest"), ("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        if value is None:
            value = _ini(root / name, section, "testpaths")
    words = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return [
        word
        for word in words
        if isinstance(word, str) and word and not word.startswith(("/", "-")) and ".." not in word.split("/")
    ]


def _test_files(folder: Path) -> Iterator[Path]:
    """Files of tests in a folder, without walking through what is not the project's own."""
    left, waiting = ENTRIES, [(folder, 0)]
    while waiting and left > 0:
        at, depth = waiting.pop()
        try:
            entries = sorted(os.scandir(at), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            left -= 1
            if entry.is_dir(follow_symlinks=False):
                if depth < DEPTH and entry.name not in SKIPPED and not entry.name.startswith("."):
                    waiting.append((Path(entry.path), depth + 1))
            elif _TEST_FILE.match(entry.name):
                yield Path(entry.path)


def _go(root: Path) -> Suite | None:
    if not (root / "go.mod").is_file():
        return None
    return Suite(name="go", title="go", command="gotestsum --junitfile junit.xml ./...", junit=("junit.xml",))


def _rust(root: Path) -> Suite | None:
    """nextest writes JUnit where a profile of .config/nextest.toml says so; without one the path is its usual one."""
    if not (root / "Cargo.toml").is_file():
        return None
    profile, path = "ci", "junit.xml"
    profiles = _nested(_toml(root / ".config" / "nextest.toml"), "profile")
    for name, item in profiles.items() if isinstance(profiles, dict) else ():
        value = _nested(item, "junit", "path")
        if isinstance(value, str):
            profile, path = str(name), value
            break
    command = f"cargo nextest run --profile {profile}"
    return Suite(name="rust", title="rust", command=command, junit=(f"target/nextest/{profile}/{path}",))


def _javascript(root: Path) -> Suite | None:
    try:
        package = json.loads(_text(root / "package.json"))
    except (ValueError, RecursionError):
        return None
    tables = (_nested(package, "dependencies"), _nested(package, "devDependencies"))
    needs = {name for table in tables if isinstance(table, dict) for name in table}
    if "vitest" in needs:
        command = "npx vitest run --reporter=default --reporter=junit --outputFile.junit=junit.xml"
        return Suite(name="js", title="js", command=command, junit=("junit.xml",))
    if "jest" in needs and "jest-junit" in needs:
        command = "npx jest --reporters=default --reporters=jest-junit"
        return Suite(name="js", title="js", command=command, junit=("junit.xml",))
    return None


def _cmake(root: Path) -> Suite | None:
    if not _ENABLED.search(_text(root / "CMakeLists.txt")):
        return None
    command = (
        'cmake -S . -B build && cmake --build build && ctest --test-dir build --output-junit "$PWD/junit.xml"'
    )
    return Suite(name="cmake", title="cmake", command=command, junit=("junit.xml",))


def _text(path: Path) -> str:
    if not path.is_file():
        return ""  # not there, or a pipe that would never end
    try:
        with path.open("rb") as file:
            return file.read(READ_LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except (ValueError, RecursionError):
        return {}  # its own tools say what is wrong with it


def _ini(path: Path, section: str, key: str) -> str | None:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(_text(path))
    except configparser.Error:
        return None  # its own tools say what is wrong with it
    return parser.get(section, key, fallback=None)


def _nested(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if not keys or isinstance(value, (dict, list, str)) else None
