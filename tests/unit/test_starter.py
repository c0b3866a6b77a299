"""The text of the starter: valid whatever the names are, and made of what was found."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.cli.init import default_branch
from ci_runner.config.detect import detected_suites
from ci_runner.config.starter import configuration_text, pip_words, quoted, tool_steps, workflow_text

REMOTE = ("symbolic-ref", "--quiet", "refs/remotes/origin/HEAD")
HEAD = ("symbolic-ref", "--quiet", "HEAD")


@pytest.mark.parametrize(
    ("said", "branch"),
    [
        ({REMOTE: b"refs/remotes/origin/dev\n", HEAD: b"refs/heads/x\n"}, "dev"),
        ({HEAD: b"refs/heads/topic/a\n"}, "topic/a"),
        ({HEAD: b"refs/odd\n"}, "main"),
        ({}, "main"),
    ],
)
def test_the_default_branch_is_the_remotes_else_the_current_one(
    said: Mapping[tuple[str, ...], bytes], branch: str
) -> None:
    assert default_branch(lambda words: said.get(tuple(words))) == branch


@given(name=st.text(max_size=20), branch=st.text(max_size=20))
def test_any_name_is_written_so_that_it_can_be_read(name: str, branch: str) -> None:
    project = tomllib.loads(configuration_text(name, branch, []))["project"]
    readable = [
        "".join("\ufffd" if 0xD800 <= ord(char) <= 0xDFFF else char for char in text)
        for text in (name, branch)
    ]
    assert [project["name"], project["default-branch"]] == readable


@given(text=st.text(max_size=50))
def test_a_quoted_text_is_one_line(text: str) -> None:
    assert len(quoted(text).splitlines()) == 1


def test_patterns_in_a_branch_mean_themselves() -> None:
    assert 'branches: ["release/\\\\*\\\\+"]' in workflow_text("release/*+", Path("/none"), [])


def put(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_what_tests_need_is_installed_as_the_project_says(tmp_path: Path) -> None:
    project = """
[build-system]
requires = []
[project]
name = "a"
requires-python = ">=3.11"
[project.optional-dependencies]
test = []
docs = []
[dependency-groups]
dev = []
"""
    root = put(
        tmp_path,
        {"pyproject.toml": project, "tests/test_a.py": "def test_a(): pass\n", "requirements-dev.txt": ""},
    )
    assert pip_words(root) == ["pytest", '-e ".[test]"', "--group dev", "-r requirements-dev.txt"]
    steps = "\n".join(tool_steps(root, detected_suites(root)))
    assert "python-version-file: pyproject.toml" in steps
    put(root, {".python-version": "3.12\n"})
    assert "python-version-file: .python-version" in "\n".join(tool_steps(root, detected_suites(root)))


def test_the_tools_of_other_languages_are_set_up(tmp_path: Path) -> None:
    package = '{"devDependencies": {"vitest": "3"}}'
    root = put(
        tmp_path,
        {"go.mod": "", "Cargo.toml": "", "package.json": package, "pnpm-lock.yaml": "", ".nvmrc": "24\n"},
    )
    steps = "\n".join(tool_steps(root, detected_suites(root)))
    for text in ("go-version-file: go.mod", "Install cargo-nextest", "node-version-file: .nvmrc"):
        assert text in steps
    assert "npm install --global pnpm" in steps


@given(text=st.text(max_size=200))
def test_whatever_the_files_hold_nothing_is_raised(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("any")
    for name in ("pyproject.toml", "package.json", "tox.ini", "setup.cfg", "CMakeLists.txt", "Cargo.toml"):
        (root / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    suites = detected_suites(root)
    assert {suite.name for suite in suites} <= {"rust", "cmake", "js", "unit"}
    tomllib.loads(configuration_text("a", "main", suites))
    assert tool_steps(root, suites) is not None
