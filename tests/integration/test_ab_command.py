"""`ci-runner ab`: both runners on a small project, and what a person is told of the difference."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ci_runner.cli import main as command_line
from tests.projects import Project, make_project

UNIT = '[suites.unit]\ntests = ["tests"]\n'
SAME = "def test_a():\n    pass\n\ndef test_b():\n    pass\n"
# What the sidecar plugin leaves behind is the one thing in which the runners differ.
UNEQUAL = (
    "import sys\n\nPYTHON = 'ci_runner_sidecar' in sys.modules\n\n"
    "def test_same():\n    pass\n\n"
    "def test_only_well_with_python():\n    assert PYTHON\n\n"
    "if not PYTHON:\n    def test_only_there_with_shell():\n        pass\n"
)
CRASH = "def pytest_sessionstart(session):\n    raise RuntimeError('broken for both')\n"


def ab(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *words: str,
    **environ: str,
) -> tuple[int, str, str]:
    """The command in this process, in the project and with its environment; exit code, stdout, stderr."""
    for name, value in project.environ().items():
        monkeypatch.setenv(name, value)
    for name in ("CI", "GITHUB_ACTIONS", "GITHUB_EVENT_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project.root)
    code = command_line.main(["ab", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_equal_runners_are_green_and_too_few_runs_say_how_many_would_do(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": SAME}, configuration=UNIT)
    ended = project.ci("ab", "unit", "--repeats", "2")
    assert ended.code == 0, ended
    lines = ended.out.splitlines()
    assert lines[0] == "unit: 2 runs by python, 2 by shell"
    (outcomes,) = [line for line in lines if line.startswith("outcomes")]
    assert outcomes.endswith(" equal")
    assert "2 tests" in outcomes
    (time,) = [line for line in lines if line.startswith("time")]
    assert "runs an arm would decide" in time or "±10%" in time
    assert "passed" in ended.err  # what happens meanwhile is told, and not on stdout


def test_one_run_an_arm_knows_nothing_of_the_noise(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": SAME}, configuration=UNIT)
    ended = project.ci("ab", "unit", "--repeats", "1", "--format", "json")
    assert ended.code == 0, ended
    assert ended.json["time"]["answer"] == "not enough data"
    assert ended.json["time"]["runs_needed"] == 2
    assert "at least 2 measured runs an arm" in ended.json["time"]["text"]
    assert (ended.json["outcomes"], ended.json["tests"]) == ("equal", 2)


def test_tests_that_differ_are_named_and_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": UNEQUAL}, configuration=UNIT)
    code, out, _ = ab(project, monkeypatch, capsys, "unit", "--repeats", "2", "--out", str(tmp_path / "arms"))
    assert code == 1, out
    assert "different" in out
    (line,) = [line for line in out.splitlines() if "test_only_well_with_python" in line]
    assert line.startswith("different")
    assert "python: 2 passed  shell: 2 failed" in line
    (line,) = [line for line in out.splitlines() if "test_only_there_with_shell" in line]
    assert line.startswith("only-shell")
    assert "python: not run" in line
    assert "test_same" not in out
    folders = sorted(path.name for path in (tmp_path / "arms").iterdir())
    assert folders == ["python-1", "python-2", "shell-1", "shell-2"]
    runners = {
        folder: json.loads((tmp_path / "arms" / folder / "record.json").read_text())["runner"]
        for folder in folders
    }
    assert set(runners.items()) == {(name, name.partition("-")[0]) for name in folders}


def test_json_names_the_differences_alone_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": UNEQUAL}, configuration=UNIT)
    code, out, _ = ab(project, monkeypatch, capsys, "unit", "--repeats", "1", "--format", "json")
    report = json.loads(out)
    assert code == 1
    assert report["outcomes"] == "different"
    assert [item["kind"] for item in report["differences"]] == ["different", "only-shell"]
    assert report["differences"][0]["python"] == {"passed": 1}
    assert report["differences"][0]["shell"] == {"failed": 1}


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("untit",), 'did you mean "unit"'),
        (("unit", "--repeats", "0"), "--repeats must be 1 or more"),
        (("unit", "--machine", "moon"), 'no machine is called "moon"'),
        (("matrix",), "stands for 2 suites"),
    ],
)
def test_what_cannot_be_compared_is_usage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    what: str,
) -> None:
    matrix = '\n[suites.matrix]\ntests = ["tests"]\n[suites.matrix.matrix]\nmode = ["a", "b"]\n'
    project = make_project(tmp_path, {"tests/test_a.py": SAME}, configuration=UNIT + matrix)
    code, out, err = ab(project, monkeypatch, capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("ci-runner: error: ")
    assert what in err
    assert "\nfix: " in err


def test_a_runner_that_gives_no_result_is_no_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(
        tmp_path,
        {"tests/test_a.py": SAME, "tests/conftest.py": CRASH},
        configuration=UNIT + 'risk = "high"\n',
    )
    code, out, err = ab(project, monkeypatch, capsys, "unit", "--repeats", "1")
    assert (code, out) == (9, "")
    assert "the python runner gave no result to compare (exit 9)" in err
    assert str(project.last_run()) in err


def test_a_runner_that_breaks_is_not_compared_with_its_replacement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crash = (
        "import sys\n\ndef pytest_sessionstart(session):\n"
        "    if 'ci_runner_sidecar' in sys.modules:\n        raise RuntimeError('broken here')\n"
    )
    project = make_project(
        tmp_path, {"tests/test_a.py": SAME, "tests/conftest.py": crash}, configuration=UNIT
    )
    code, out, err = ab(project, monkeypatch, capsys, "unit", "--repeats", "1")
    assert (code, out) == (9, "")
    assert "the python runner broke and the other took over: plugin-error" in err


def test_a_cancelled_comparison_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cancel = f"import os, signal\n\ndef test_a():\n    os.kill({os.getpid()}, signal.SIGTERM)\n"
    project = make_project(tmp_path, {"tests/test_a.py": cancel}, configuration=UNIT)
    code, out, err = ab(project, monkeypatch, capsys, "unit", "--repeats", "1")
    assert (code, out) == (130, "")
    assert "the runs so far were not compared" in err


def test_nothing_that_may_run_is_nothing_to_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leased = '[machines.tpu]\nprovider = "gcp-tpu"\ntype = "v6e-1"\nzones = ["us-east5-b"]\n'
    configuration = '[suites.tpu]\ntests = ["tests"]\nmachine = "tpu"\n' + leased
    project = make_project(tmp_path, {"tests/test_a.py": SAME}, configuration=configuration)
    event = tmp_path / "event.json"
    head = {"sha": "1" * 40, "ref": "topic", "repo": {"full_name": "fork/kpt", "fork": True}}
    base = {"sha": "2" * 40, "ref": "main", "repo": {"full_name": "octo/kpt"}}
    pull = {"number": 1, "head": head, "base": base, "labels": [], "draft": False, "user": {"login": "x"}}
    event.write_text(
        json.dumps(
            {
                "action": "opened",
                "number": 1,
                "pull_request": pull,
                "repository": {"full_name": "octo/kpt", "default_branch": "main"},
                "sender": {"login": "x"},
            }
        )
    )
    github = {"CI": "true", "GITHUB_EVENT_PATH": str(event), "GITHUB_EVENT_NAME": "pull_request"}
    code, out, err = ab(project, monkeypatch, capsys, "tpu", "--repeats", "1", **github)
    assert (code, out) == (10, "")
    assert "would lease a machine for a fork" in err


def test_trouble_with_the_machine_keeps_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": SAME}, configuration=UNIT + 'setup = ["exit 3"]\n')
    code, out, err = ab(project, monkeypatch, capsys, "unit", "--repeats", "1")
    assert (code, out) == (8, "")
    assert "(exit 8)" in err


def test_the_default_branch_of_the_configuration_is_the_one_compared_with(tmp_path: Path) -> None:
    configuration = '[project]\ndefault-branch = "trunk"\n' + UNIT
    project = make_project(tmp_path, {"tests/test_a.py": SAME}, configuration=configuration)
    project.git("branch", "-m", "trunk")
    project.git("switch", "-q", "-c", "topic")
    ended = project.ci("run", "unit", "--dry-run", "--format", "json")
    assert ended.code == 0, ended
    assert ended.json["event"]["base_branch"] == "trunk"
    assert ended.json["event"].get("changed_files_note") is None
