"""`ci-runner init`: all files or none, nothing replaced unasked, and text that loads whatever it is made of."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from ci_runner.cli import init
from ci_runner.cli.main import main
from ci_runner.config.detect import detected_suites
from ci_runner.config.load import load_settings
from ci_runner.config.starter import ACTION, workflow_text
from ci_runner.errors import UsageError
from ci_runner.github import local
from tests.sample_repositories import SAMPLES, TEST, make

CONFIGURATION, WORKFLOW = init.CONFIGURATION, init.WORKFLOW
BRANCH = "trunk"


@pytest.fixture(autouse=True)
def _git(monkeypatch: pytest.MonkeyPatch) -> None:
    """A git that knows the current branch and no remote."""

    def ask(words: Sequence[str]) -> bytes | None:
        return f"refs/heads/{BRANCH}\n".encode() if words[-1] == "HEAD" else None

    monkeypatch.setattr(local, "git_at", lambda _root: ask)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one test, and the current folder."""
    made = make(tmp_path / "project", {"tests/test_a.py": TEST})
    monkeypatch.chdir(made)
    return made


def tree(folder: Path) -> dict[str, str]:
    """Every file, folder and link with what it holds."""
    return {
        path.relative_to(folder).as_posix(): f"-> {path.readlink()}"
        if path.is_symlink()
        else path.read_text()
        if path.is_file()
        else "/"
        for path in sorted(folder.rglob("*"))
    }


@contextmanager
def refused(method: str, ending: str, error: BaseException) -> Iterator[None]:
    """What happens when this is done to a path with this ending: a full disk, a person at the keyboard."""
    real = getattr(Path, method)

    def hindered(path: Path, *args: object, **kwargs: object) -> object:
        if path.as_posix().endswith(ending):
            raise error
        return real(path, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, method, hindered)
        yield


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_written_loads_and_says_what_was_found(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = SAMPLES[name]
    made = make(tmp_path / name, sample.files)
    monkeypatch.chdir(made)
    assert main(["init"]) == 0
    settings = load_settings(made, environ={})
    written = [
        (suite.name, suite.tests, suite.command, suite.junit, suite.setup, suite.pytest_args)
        for suite in settings.suites.values()
    ]
    assert written == [
        (suite.name, suite.tests, suite.command, suite.junit, suite.setup, suite.pytest_args)
        for suite in sample.suites
    ]
    assert (settings.name, settings.default_branch) == (name, BRANCH)
    told = capsys.readouterr().out
    assert told.count("note: ") == len(sample.missing)
    assert ("next: ci-runner run" in told) == bool(sample.suites)


@pytest.mark.parametrize(
    "name",
    ["a\nb", "q\"uo'te", "\udcff\udc80", "\u2028\u202e\x1b[31m", "\\", "#", "'''", "🙂", "${{ x }}", "\x7f"],
)
def test_a_folder_of_any_name_is_written_down(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(tmp_path / name, {"tests/test_a.py": TEST})
    monkeypatch.chdir(made)
    assert main(["init"]) == 0
    settings = load_settings(made, environ={})
    assert settings.name == os.fsencode(name).decode("utf-8", "replace")
    assert list(settings.suites) == ["unit"]
    assert main(["init", "--dry-run", "--format", "json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :])["root"] == str(made)


@pytest.mark.parametrize("name", [CONFIGURATION, WORKFLOW])
def test_what_is_there_is_replaced_by_force_alone(
    name: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(root, {name: "mine\n"})
    before = tree(root)
    assert main(["init"]) == 2
    told = capsys.readouterr().err
    assert f"{name} is there already" in told
    assert "--force" in told
    assert tree(root) == before
    assert main(["init", "--force"]) == 0
    after = tree(root)
    assert after[name] != "mine\n"
    assert set(after) == set(before) | {CONFIGURATION, ".github", ".github/workflows", WORKFLOW}


def test_a_link_is_replaced_and_not_followed(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("theirs\n")
    (root / CONFIGURATION).symlink_to(other)
    assert main(["init"]) == 2
    assert main(["init", "--force"]) == 0
    assert other.read_text() == "theirs\n"
    assert not (root / CONFIGURATION).is_symlink()


def test_both_names_are_said_when_both_are_there(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    assert main(["init"]) == 2
    assert f"{CONFIGURATION} and {WORKFLOW} are there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "files", [{}, {CONFIGURATION: "mine\n"}, {CONFIGURATION: "mine\n", WORKFLOW: "ours\n"}]
)
def test_a_full_disk_leaves_everything_as_it_was(
    files: dict[str, str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(root, files)
    before = tree(root)
    with refused("open", "ci-runner.yml", FULL):
        assert main(["init", "--force"]) == 2
    told = capsys.readouterr().err
    assert f"cannot write {WORKFLOW}: No space left on device" in told
    assert "nothing was written" in told
    assert tree(root) == before


def test_an_interrupt_leaves_everything_as_it_was(root: Path) -> None:
    make(root, {CONFIGURATION: "mine\n"})
    before = tree(root)
    found = init.starter(root, here=False)
    with refused("open", "ci-runner.yml", KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        init.write(found, [CONFIGURATION], force=True)
    assert tree(root) == before


def test_what_cannot_be_put_back_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with refused("open", "ci-runner.yml", FULL), refused("unlink", CONFIGURATION, FULL):
        assert main(["init"]) == 2
    told = capsys.readouterr().err
    assert f"look at {CONFIGURATION} too" in told
    assert f"cannot write {WORKFLOW}" in told
    assert "nothing was written" not in told


def test_a_file_that_appears_meanwhile_stays(root: Path) -> None:
    found = init.starter(root, here=False)
    make(root, {WORKFLOW: "theirs\n"})
    before = tree(root)
    with pytest.raises(UsageError, match=r"cannot write .*File exists"):
        init.write(found, [], force=False)
    assert tree(root) == before


@pytest.mark.parametrize(
    ("files", "why"),
    [({f"{WORKFLOW}/x": ""}, "it is a folder"), ({".github": "a file"}, "Not a directory")],
)
def test_force_takes_no_folder_away(
    files: dict[str, str], why: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(root, files)
    before = tree(root)
    assert main(["init", "--force"]) == 2
    assert f"cannot write {WORKFLOW}: {why}" in capsys.readouterr().err
    assert tree(root) == before


@pytest.mark.parametrize("there", [False, True])
def test_a_dry_run_prints_what_would_be_written_and_writes_nothing(
    *, there: bool, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(root, {CONFIGURATION: "mine\n"} if there else {})
    before = tree(root)
    assert main(["init", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert ("--force replaces it" in told) == there
    assert main(["init", "--dry-run", "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["written"] is False
    assert shown["there_already"] == ([CONFIGURATION] if there else [])
    assert tree(root) == before
    assert main(["init", "--force"]) == 0
    for name, text in shown["files"].items():
        assert text in told
        assert (root / name).read_text() == text


def test_json_is_all_that_is_printed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "root": str(root),
        "default_branch": BRANCH,
        "suites": ["unit"],
        "written": True,
        "there_already": [],
        "notes": [],
        "files": {name: (root / name).read_text() for name in (CONFIGURATION, WORKFLOW)},
    }


def test_here_writes_a_configuration_below_the_top_and_no_workflow(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(root, {"part/package.json": '{"devDependencies": {"vitest": "3"}}'})
    before = tree(root)
    monkeypatch.chdir(root / "part")
    assert main(["init", "--here"]) == 0
    assert f"from there: ci-runner run --config part/{CONFIGURATION}" in capsys.readouterr().out
    assert set(tree(root)) - set(before) == {f"part/{CONFIGURATION}"}
    assert main(["init"]) == 0
    assert (root / WORKFLOW).is_file()


def test_here_at_the_top_writes_both(root: Path) -> None:
    assert main(["init", "--here"]) == 0
    assert (root / WORKFLOW).is_file()


def test_a_glob_finds_no_path_that_is_an_option(tmp_path: Path) -> None:
    made = make(tmp_path, {"pytest.ini": "[pytest]\ntestpaths = *x", "-x/test_a.py": "", "ax/test_a.py": ""})
    assert [suite.tests for suite in detected_suites(made)] == [("ax",)]


def test_the_command_is_cheap_to_declare() -> None:
    heavy = {"pydantic", "ci_runner.config.detect", "ci_runner.config.starter", "ci_runner.github.local"}
    source = Path(init.__file__).read_text(encoding="utf-8")
    head = source[: source.index("if TYPE_CHECKING")]
    assert not [name for name in heavy if f"from {name} " in head or f"import {name}" in head]
    assert "ci_runner" not in head.split('"""')[2]


PACKAGE = '{"devDependencies": {"vitest": "3"}}'


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        ({"test_a.py": TEST}, ['python-version: "3.x"', "run: python -m pip install pytest\n"]),
        (
            {
                "test_a.py": TEST,
                "pyproject.toml": '[project]\nrequires-python = ">=3.11"\n[project.optional-dependencies]\ntest = []',
            },
            ["python-version-file: pyproject.toml", 'run: python -m pip install pytest -e ".[test]"\n'],
        ),
        ({"test_a.py": TEST, ".python-version": "3.12"}, ["python-version-file: .python-version"]),
        ({"package.json": PACKAGE}, ["node-version: lts/*"]),
        (
            {"package.json": PACKAGE, "yarn.lock": "", ".nvmrc": "24"},
            ["node-version-file: .nvmrc", "run: npm install --global yarn\n"],
        ),
        ({"go.mod": ""}, ["go-version-file: go.mod", "run: go install gotest.tools/gotestsum@latest\n"]),
        ({"Cargo.toml": ""}, ["name: Install cargo-nextest"]),
    ],
)
def test_the_workflow_sets_up_what_was_found(files: dict[str, str], lines: list[str], tmp_path: Path) -> None:
    made = make(tmp_path, files)
    text = workflow_text(BRANCH, made, detected_suites(made))
    assert [line for line in lines if line not in text] == []


def test_every_action_but_our_own_is_held_to_a_commit(tmp_path: Path) -> None:
    made = make(tmp_path, {"test_a.py": TEST, "go.mod": "", "package.json": PACKAGE})
    used = re.findall(r"uses: (.*)", workflow_text(BRANCH, made, detected_suites(made)))
    held = [line for line in used if re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)]
    assert len(held) == 4
    assert [line for line in used if line not in held] == [ACTION]


@pytest.mark.parametrize(
    ("branch", "pattern"),
    [
        ("release/1.x", '"release/1.x"'),
        ("a+b!c", r'"a\\+b\\!c"'),
        ("x${{github.token}}y", '"x$*github.token}}y"'),
        ("${{${{", '"$*$*"'),
        ("a\nb: [c]", r'"a\u000ab: \\[c]"'),
    ],
)
def test_a_branch_of_any_name_is_one_filter(branch: str, pattern: str, tmp_path: Path) -> None:
    assert f"    branches: [{pattern}]\n" in workflow_text(branch, tmp_path, [])
