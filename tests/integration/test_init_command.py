"""`ci-runner init`: what it writes is what it found, it is valid, and nothing that is there is overwritten."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from ci_runner.cli import init
from ci_runner.cli.main import main
from ci_runner.config.detect import detected_suites
from ci_runner.config.load import load_settings
from tests.lint_kit import check_with_actionlint

TEST = "def test_a():\n    pass\n"
REPOSITORIES: dict[str, dict[str, str]] = {
    "pytest": {"tests/test_a.py": TEST},
    "testpaths": {
        "pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = ["checks"]\n',
        "checks/test_a.py": TEST,
    },
    "ini": {"tox.ini": "[pytest]\ntestpaths = spec\n", "spec/test_a.py": TEST},
    "flat": {"test_a.py": TEST},
    "go": {"go.mod": "module example.org/a\n"},
    "rust": {"Cargo.toml": "[package]\nname = 'a'\n"},
    "rust-profile": {
        "Cargo.toml": "",
        ".config/nextest.toml": '[profile.slow.junit]\npath = "out.xml"\n',
    },
    "vitest": {"package.json": '{"devDependencies": {"vitest": "3"}}'},
    "jest": {"package.json": '{"devDependencies": {"jest": "30", "jest-junit": "16"}}'},
    "cmake": {"CMakeLists.txt": "project(a)\nenable_testing()\n"},
    "nothing": {"README.md": "# a\n"},
    "all": {"tests/test_a.py": TEST, "go.mod": "", "Cargo.toml": "", "package.json": "{}"},
    "not-ours": {"node_modules/a/test_a.py": TEST, ".venv/lib/test_b.py": TEST, "package.json": "[1]"},
}
FOUND: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "pytest": [("unit", ("tests",))],
    "testpaths": [("unit", ("checks",))],
    "ini": [("unit", ("spec",))],
    "flat": [("unit", (".",))],
    "go": [("go", ("junit.xml",))],
    "rust": [("rust", ("target/nextest/ci/junit.xml",))],
    "rust-profile": [("rust", ("target/nextest/slow/out.xml",))],
    "vitest": [("js", ("junit.xml",))],
    "jest": [("js", ("junit.xml",))],
    "cmake": [("cmake", ("junit.xml",))],
    "nothing": [],
    "all": [("unit", ("tests",)), ("go", ("junit.xml",)), ("rust", ("target/nextest/ci/junit.xml",))],
    "not-ours": [],
}


def make(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run(["git", "init", "-q", "-b", "trunk", str(folder)], check=True, timeout=60)
    return folder


@pytest.mark.parametrize("name", REPOSITORIES)
def test_what_is_there_is_found(name: str, tmp_path: Path) -> None:
    suites = detected_suites(make(tmp_path, REPOSITORIES[name]))
    assert [(suite.name, suite.tests or suite.junit) for suite in suites] == FOUND[name]


@pytest.mark.parametrize("name", REPOSITORIES)
def test_the_configuration_that_is_written_says_what_was_found(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path, REPOSITORIES[name])
    monkeypatch.chdir(root)
    assert main(["init"]) == 0
    assert "ci-runner run" in capsys.readouterr().out
    settings = load_settings(root, environ={})
    written = [(suite.name, suite.tests, suite.command, suite.junit) for suite in settings.suites.values()]
    found = [(suite.name, suite.tests, suite.command, suite.junit) for suite in detected_suites(root)]
    assert written == found
    assert (settings.name, settings.default_branch) == (root.name, "trunk")
    assert "org/kpt/actions/test@v1" in (root / init.WORKFLOW).read_text()


def test_what_is_there_already_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path, {"ci-runner.toml": "# mine\n", "tests/test_a.py": TEST})
    monkeypatch.chdir(root)
    assert main(["init"]) == 2
    told = capsys.readouterr().err
    assert "ci-runner.toml is there already" in told
    assert "--force" in told
    assert not (root / init.WORKFLOW).exists()
    assert (root / "ci-runner.toml").read_text() == "# mine\n"
    assert main(["init", "--force"]) == 0
    assert "[suites.unit]" in (root / "ci-runner.toml").read_text()


def test_a_dry_run_writes_nothing_and_json_holds_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path, REPOSITORIES["pytest"])
    monkeypatch.chdir(root / "tests")
    assert main(["init", "--dry-run", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["root"] == str(root)
    assert told["suites"] == ["unit"]
    assert tomllib.loads(told["files"]["ci-runner.toml"])["suites"]["unit"]["tests"] == ["tests"]
    assert main(["init", "--dry-run"]) == 0
    assert "[suites.unit]" in capsys.readouterr().out
    assert sorted(path.name for path in root.iterdir()) == [".git", "tests"]


def test_here_means_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path, {"part/tests/test_a.py": TEST})
    monkeypatch.chdir(root / "part")
    assert main(["init", "--here"]) == 0
    assert (root / "part" / "ci-runner.toml").is_file()
    assert not (root / "ci-runner.toml").exists()
    assert not (root / "part" / ".github").exists()
    assert "ci-runner run --config part/ci-runner.toml" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path, {".github": "a file"})
    monkeypatch.chdir(root)
    assert main(["init"]) == 2
    assert "cannot write .github/workflows/ci-runner.yml" in capsys.readouterr().err
    assert not (root / "ci-runner.toml").exists(), "all files or none"
    assert sorted(path.name for path in root.iterdir()) == [".git", ".github"]


def test_the_branch_that_the_remote_calls_its_own_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path / "a", REPOSITORIES["pytest"])
    (root / ".git" / "refs" / "remotes" / "origin").mkdir(parents=True)
    (root / ".git" / "refs" / "remotes" / "origin" / "HEAD").write_text("ref: refs/remotes/origin/next\n")
    monkeypatch.chdir(root)
    assert main(["init", "--dry-run", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["default_branch"] == "next"


def test_the_workflows_that_are_written_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    for name, files in REPOSITORIES.items():
        monkeypatch.chdir(make(tmp_path / name, files))
        assert main(["init"]) == 0
        written.append(str(tmp_path / name / init.WORKFLOW))
    check_with_actionlint(written)


def test_a_hostile_name_breaks_neither_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.fsdecode(b'a\n"quoted" \xff ${{ x }} \\ [1]')
    root = make(tmp_path / folder, REPOSITORIES["pytest"])
    subprocess.run(
        ["git", "-C", root, "symbolic-ref", "HEAD", "refs/heads/a'b\"c{}+1"], check=True, timeout=60
    )
    monkeypatch.chdir(root)
    assert main(["init"]) == 0
    settings = load_settings(root, environ={})
    assert settings.default_branch == "a'b\"c{}+1"
    assert settings.name == folder.replace("\udcff", "\ufffd")
