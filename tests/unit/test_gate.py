"""The gate's own decisions: what it leaves out, what it says about that, and when it fails."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from gate import install as installing
from gate import needs, run, steps
from gate.install import CannotInstall
from gate.left_out import lines, need_of, skipped
from gate.run import Gate, parsed
from gate.steps import ROOT, Step, environment, is_shell, pytest_step

RESULTS = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" tests="5" skipped="4">
<testcase classname="a" name="one"/>
<testcase classname="a" name="two"><skipped type="pytest.skip" message="{need}"/></testcase>
<testcase classname="a" name="three"><skipped type="pytest.skip" message="{need}"/></testcase>
<testcase classname="a" name="four"><skipped type="pytest.skip" message="root may enter every folder"/></testcase>
<testcase classname="a" name="five"><skipped type="pytest.xfail" message="known"/></testcase>
</testsuite></testsuites>
"""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """What pytest writes when two tests lack a browser."""
    path = tmp_path / "junit.xml"
    path.write_text(RESULTS.format(need=needs.skip_reason("chromium")))
    return path


def test_every_group_that_did_not_run_is_named_with_its_count_and_reason(results: Path) -> None:
    assert lines(skipped(results), "not root, and there is no sudo") == [
        "left out  2 tests of the report page in a browser: chromium is missing (not installed: not root, and there is no"
        " sudo; Debian: apt-get install chromium fonts-dejavu-core)",
        "skipped   1 test: root may enter every folder",
    ]


@pytest.mark.parametrize(("name", "need"), [("chromium", "chromium"), ("git", "git")])
def test_a_skip_reason_names_its_need(name: str, need: str) -> None:
    assert need_of(needs.skip_reason(name)) == need
    assert need_of(f"it {needs.skip_reason(name)}") is None
    assert need_of("needs patience: none was found") is None


@pytest.mark.parametrize(
    ("on_server", "allowed", "fails"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_leaving_tests_out_fails_where_the_packages_could_have_been_installed(
    results: Path, on_server: bool, allowed: bool, fails: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = Gate(on_server=on_server, not_installed="apt-get update failed: no route", could_install=allowed)
    gate.account(results)
    assert gate.verdict(2.0) == (1 if fails else 0)
    out = capsys.readouterr().out
    assert "left out  2 tests of the report page in a browser" in out
    assert ("failed    left out for want of chromium (2 s)" in out) is fails
    assert ("passed    everything" in out) is not fails


def test_pytest_without_results_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gate = Gate(on_server=True, failed=["pytest"])
    gate.account(tmp_path / "junit.xml")
    assert gate.verdict(1.0) == 1
    assert capsys.readouterr().out == "\npytest wrote no results\nfailed    pytest (1 s)\n"


def test_every_failed_step_is_listed_and_its_output_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = {"good": (0, "chatter"), "bad": (3, "what is wrong\n"), "worse": (1, "")}
    monkeypatch.setattr(run, "ended", lambda step, command: ends[step.name])
    gate = Gate(on_server=False)
    for name in ends:
        gate.run(Step(name, lambda: ["tool"]))
    gate.run(Step("empty", list))
    assert gate.verdict(0.0) == 1
    out = capsys.readouterr().out
    assert "chatter" not in out
    assert "FAILED (exit 3)\nwhat is wrong\n" in out
    assert "nothing to check" in out
    assert out.endswith("failed    bad, worse (0 s)\n")


def test_a_tool_that_is_not_there_fails_its_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(*_: object) -> tuple[int, str]:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(run, "ended", absent)
    gate = Gate(on_server=False)
    gate.run(Step("shfmt", lambda: ["/x/shfmt"]))
    assert gate.failed == ["shfmt"]
    assert "cannot run /x/shfmt: No such file or directory" in capsys.readouterr().out


def answering(codes: dict[str, tuple[int, str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A subprocess.run that ends as planned for the first planned word in the command."""

    def answer(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        code, out = next((end for word, end in codes.items() if word in command), (0, ""))
        return subprocess.CompletedProcess(command, code, out, "")

    return answer


@pytest.mark.parametrize(
    ("user", "programs", "codes", "why", "allowed"),
    [
        (0, {"sudo"}, {}, "this machine has no apt-get", False),
        (1000, {"apt-get"}, {}, "not root, and there is no sudo", False),
        (1000, {"apt-get", "sudo"}, {"true": (1, "")}, "not root, and sudo asks for a password", False),
        (
            0,
            {"apt-get"},
            {"update": (100, "Err:1\nE: no route\n\n")},
            "apt-get update failed: E: no route",
            True,
        ),
        (0, {"apt-get"}, {"install": (100, "")}, "apt-get install failed: no message", True),
        (1000, {"apt-get", "sudo"}, {}, "chromium, fonts-dejavu-core brought no chromium", True),
    ],
)
def test_why_packages_could_not_be_installed(
    monkeypatch: pytest.MonkeyPatch,
    user: int,
    programs: set[str],
    codes: dict[str, tuple[int, str]],
    why: str,
    allowed: bool,
) -> None:
    monkeypatch.setattr("gate.install.os.geteuid", lambda: user)
    monkeypatch.setattr("gate.install.shutil.which", lambda name, **_: name if name in programs else None)
    monkeypatch.setattr("gate.install.subprocess.run", answering(codes))
    with pytest.raises(CannotInstall, match=why) as caught:
        installing.install(["chromium"])
    assert caught.value.allowed is allowed


def test_installing_asks_nothing_and_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def record(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(list(command))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("gate.install.os.geteuid", lambda: 1000)
    monkeypatch.setattr("gate.install.shutil.which", lambda name, **_: name)
    monkeypatch.setattr("gate.install.subprocess.run", record)
    installing.install(["git", "chromium"])
    before = ["sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    assert ran[1] == [*before, "update", "-qq"]
    assert ran[2][:7] == [*before, "install", "-qq"]
    assert ran[2][-3:] == ["chromium", "fonts-dejavu-core", "git"]


def test_the_tests_see_nothing_of_the_server(tmp_path: Path) -> None:
    step = Step("x", lambda: ["x"], {"COVERAGE_FILE": "c"})
    server = {
        "CI": "true",
        "GITHUB_STEP_SUMMARY": "s",
        "RUNNER_TEMP": "t",
        "CI_RUNNER_GROUPS": "all",
        "PATH": "p",
    }
    assert environment(step, server) == {"PATH": "p", "COVERAGE_FILE": "c"}


def test_what_pytest_is_asked_to_do(tmp_path: Path) -> None:
    whole = pytest_step(tmp_path, [], quick=False).command()
    assert "--cov" in whole
    assert "--dist" not in whole  # tests/conftest.py says what is kept together, by where it lies
    assert [word for word in whole if word.startswith("tests/")] == list(steps.TESTS)
    quick = pytest_step(tmp_path, [], quick=True).command()
    assert "--cov" not in quick
    assert quick[-1] == "tests/unit"
    asked = pytest_step(tmp_path, ["tests/unit/test_gate.py", "-k", "asked"], quick=False).command()
    assert asked[-3:] == ["tests/unit/test_gate.py", "-k", "asked"]
    assert "--cov" not in asked


def test_no_test_is_marked_for_a_group_that_nobody_reads() -> None:
    marked = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if re.search(r"^(pytestmark\b.*|@pytest\.mark\.)xdist_group", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert marked == []


def test_what_is_dear_to_begin_with_stays_in_one_process(pytestconfig: pytest.Config) -> None:
    kept = pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    assert kept is not None
    assert kept.together("tests/actions/test_act.py::test_a") == "tests/actions/test_act.py"
    assert kept.together("tests/unit/test_gate.py::test_a[1]") == "tests/unit/test_gate.py::test_a[1]"
    assert all((ROOT / name).exists() for name in kept.TOGETHER)


def test_words_after_the_dashes_go_to_pytest(capsys: pytest.CaptureFixture[str]) -> None:
    arguments, tests = parsed(["--", "-k", "x", "--", "--quick"])
    assert (arguments.quick, tests) == (False, ["-k", "x", "--", "--quick"])
    assert parsed(["--quick"])[0].quick is True
    with pytest.raises(SystemExit) as caught:
        parsed(["--quick", "--", "-k", "x"])
    assert caught.value.code == 2
    assert "exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "shell"),
    [("scripts/test", True), ("scripts/bootstrap/start.sh", True), (".ci/run", True), ("LICENSE", False)],
)  # fmt: skip
def test_shell_scripts_are_found_by_their_first_line_or_ending(path: str, shell: bool) -> None:
    assert is_shell(Path(path)) is shell


def test_the_tools_are_those_of_the_environment() -> None:
    assert steps.tool("ruff", "check") == [str(Path(sys.executable).parent / "ruff"), "check"]
    assert (ROOT / "pyproject.toml").is_file()
