"""The lines of a change as real git tells them, in repositories and with settings that people have."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_runner.github.changed_lines import changed_lines
from ci_runner.github.local import git_at
from tests.projects import Project, make_project

ODD = 'odd "name" ü\\.py'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    long = "".join(f"line {number}\n" for number in range(30))
    files = {"sub/m.py": "a\nb\nc\nd\n", "old.py": long, "z.py": "a\n", ODD: "a\n", "crlf.py": "a\r\nb\r\n"}
    project = make_project(tmp_path, files, configuration=None)
    (project.root / "data.bin").write_bytes(b"\0one")
    project.commit()
    project.git("mv", "old.py", "new.py")
    project.write({"sub/m.py": "a\nB\nc\nD", "z.py": "b\n", ODD: "a\nb\n", "crlf.py": "a\r\nc\r\n"})
    (project.root / "data.bin").write_bytes(b"\0two")
    project.commit()
    return project


EXPECTED = {
    "sub/m.py": frozenset({2, 4}),
    "z.py": frozenset({1}),
    ODD: frozenset({2}),
    "crlf.py": frozenset({2}),
}


@pytest.mark.parametrize(
    "setting",
    [
        ("color.ui", "always"),
        ("diff.context", "7"),
        ("diff.interHunkContext", "9"),
        ("diff.noprefix", "true"),
        ("diff.mnemonicPrefix", "true"),
        ("diff.renames", "false"),
        ("diff.external", "false"),
        ("core.quotePath", "false"),
    ],
)
def test_no_setting_of_a_person_changes_what_changed(project: Project, setting: tuple[str, str]) -> None:
    project.git("config", *setting)
    assert changed_lines(git_at(project.root), "HEAD~1", "HEAD") == EXPECTED


def test_a_configuration_below_the_repository_has_its_own_paths(project: Project) -> None:
    assert changed_lines(git_at(project.root / "sub"), "HEAD~1", "HEAD") == {"m.py": frozenset({2, 4})}


def test_what_is_not_committed_counts_where_no_commit_is_named(project: Project) -> None:
    project.write({"z.py": "b\nc\n"})
    assert changed_lines(git_at(project.root), "HEAD", None) == {"z.py": frozenset({2})}


def test_a_commit_that_is_not_here_is_not_known(project: Project) -> None:
    assert changed_lines(git_at(project.root), "0" * 40, "HEAD") is None
