"""What a repository without configuration seems to have: found by its files alone, whatever they hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.config import detect
from ci_runner.config.detect import detected_suites, missing_pieces
from tests.sample_repositories import SAMPLES, TEST, UNIT, make

FILES = (
    "pyproject.toml",
    "pytest.toml",
    "pytest.ini",
    "tox.ini",
    "setup.cfg",
    "package.json",
    "CMakeLists.txt",
    "Cargo.toml",
    ".config/nextest.toml",
)
NAMES = {"unit", "rust", "js", "cmake"}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_suites_of_a_repository_are_found(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    root = make(tmp_path, sample.files)
    suites = detected_suites(root)
    assert suites == list(sample.suites)
    missing = missing_pieces(root, suites)
    assert [text.startswith(start) for text, start in zip(missing, sample.missing, strict=True)] == [
        True
    ] * len(missing)


def test_a_folder_that_is_not_there_has_no_suites(tmp_path: Path) -> None:
    assert detected_suites(tmp_path / "gone") == []


def test_a_huge_tree_is_not_walked_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, {f"data/{number:03}": "" for number in range(100)} | {"z/y/test_a.py": TEST})
    assert [suite.tests for suite in detected_suites(tmp_path)] == [(".",)]
    monkeypatch.setattr(detect, "ENTRIES", 50)
    assert detected_suites(tmp_path) == []


def test_near_files_are_found_before_a_huge_folder_is_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "tests", {f"zzz/{number:03}": "" for number in range(100)} | {"a/test_a.py": TEST})
    monkeypatch.setattr(detect, "ENTRIES", 20)
    assert detected_suites(tmp_path) == list(UNIT)


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", {"test_a.py": TEST})
    root = make(tmp_path / "project", {"src/a.py": ""})
    (root / "src" / "link").symlink_to(tmp_path / "elsewhere")
    (root / "src" / "loop").symlink_to(root)
    assert detected_suites(root) == []


def test_a_pipe_in_place_of_a_file_blocks_nothing(tmp_path: Path) -> None:
    root = make(tmp_path, {"tests/test_a.py": TEST})
    for name in ("pyproject.toml", "package.json", "go.mod", "Cargo.toml"):
        os.mkfifo(root / name)
    assert detected_suites(root) == list(UNIT)


def test_what_cannot_be_read_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(
        tmp_path, {"tests/test_a.py": TEST, "package.json": "{}", "CMakeLists.txt": "enable_testing()"}
    )

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert detected_suites(root) == list(UNIT)


def texts() -> st.SearchStrategy[str]:
    """Text of any kind, and text that is nearly what the readers look for."""
    words = st.sampled_from(
        [
            "[tool.pytest.ini_options]\n",
            "[tool.pytest]\n",
            "[pytest]\n",
            "[tool:pytest]\n",
            "testpaths = ",
            "python_files = ",
            '["tests", "src/*", "**/a"]\n',
            "../.. [*\n",
            "\x00",
            '{"devDependencies": ',
            '{"vitest": 1}}',
            "[profile.ci.junit]\npath = ",
            '"junit.xml"\n',
            "enable_testing()\n",
        ]
    )
    return st.one_of(st.text(max_size=200), st.lists(st.one_of(words, st.text(max_size=5))).map("".join))


@given(text=texts(), file=st.sampled_from(FILES))
def test_whatever_a_file_holds_nothing_is_raised(
    text: str, file: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp() / "any"
    (root / ".config").mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (root / name).unlink(missing_ok=True)
    (root / file).write_bytes(text.encode("utf-8", "surrogatepass"))
    assert {suite.name for suite in detected_suites(root)} <= NAMES


@given(data=st.binary(max_size=200), file=st.sampled_from(FILES))
def test_whatever_bytes_a_file_holds_nothing_is_raised(
    data: bytes, file: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp() / "bytes"
    (root / ".config").mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (root / name).unlink(missing_ok=True)
    (root / file).write_bytes(data)
    assert {suite.name for suite in detected_suites(root)} <= NAMES
