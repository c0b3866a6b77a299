"""The parts of the actions' steps that need no process: patterns, words, names, verdicts, and what is installed when."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.cli import action, action_run
from ci_runner.cli.action import enter, is_positive, parsed, step_of, temporary, with_library, words_for
from ci_runner.cli.action_report import asks_github, globbed, judged, matching, plain, prepare
from ci_runner.cli.action_run import part_name
from ci_runner.cli.action_table import ACTIONS
from ci_runner.cli.main import main
from ci_runner.errors import CiRunnerError, UsageError
from ci_runner.report.parts import KEY

TPU = '[machines.tpu]\nprovider = "gcp-tpu"\ntype = "v6e-1"\n'


def defaults(name: str, step: str, **changes: str) -> dict[str, str]:
    """The inputs of a step with nothing given but the changes."""
    found = {item.name: item.default for item in ACTIONS[name].inputs_of(step)}
    return found | {name.replace("_", "-"): value for name, value in changes.items()}


@given(st.text(max_size=20))
def test_whatever_counts_as_a_number_is_one_above_zero(text: str) -> None:
    if is_positive(text):
        assert float(text) > 0


def test_numbers() -> None:
    assert [text for text in ("30", "0.5", "1.", ".5", "0", "-1", "1e3", "inf", "") if is_positive(text)] == [
        "30", "0.5"
    ]  # fmt: skip
    assert [plain(number) for number in (0.0, 1.5, 120.0, 0.0000004, 1234567.25)] == [
        "0", "1.5", "120", "0", "1234567.25"
    ]  # fmt: skip


def test_inputs_become_words_that_no_value_can_pass_for(tmp_path: Path) -> None:
    values = defaults(
        "tpu-test",
        "run",
        suites="--help, a\nb",
        zones="us-east5-b us-central1-b",
        spot="TRUE",
        live="false",
        max_minutes="30",
        options="image=x\n\n  -o=y ",
        tpu_type="--dry-run",
    )
    words = words_for("run", ACTIONS["tpu-test"], values)
    assert words == [
        "--tpu-type=--dry-run", "--zone=us-east5-b", "--zone=us-central1-b", "--spot", "--max-minutes=30",
        "--option=image=x", "--option=-o=y", "--", "--help", "a", "b",
    ]  # fmt: skip
    found = parsed("run", *words)
    assert (found.suites, found.tpu_type, found.dry_run) == (["--help", "a", "b"], "--dry-run", False)
    assert words_for("plan", ACTIONS["plan"], defaults("plan", "plan", suites="all")) == [
        "--all",
        "--explain",
    ]
    with pytest.raises(UsageError, match="expected at least one argument"):
        parsed("report", "--results")


JUNIT = ("one.xml", "a/two.xml", "a/b/three.xml", "old/four.xml", "a/b/note.txt")


def test_patterns_mean_files_and_those_that_are_taken_away(tmp_path: Path) -> None:
    for name in JUNIT:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(*lines: str) -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in matching(lines, tmp_path)]

    assert found("*.xml") == ["one.xml"]
    assert sorted(found("**/*.xml", "!old/**")) == ["a/b/three.xml", "a/two.xml", "one.xml"]
    assert found("a/*.xml", "", "one.xml", "a/*.xml") == ["a/two.xml", "one.xml"]
    assert found(f"{tmp_path}/a/b/*.xml") == ["a/b/three.xml"]
    assert found("a/b") == ["a/b"] if (tmp_path / "a/b").is_file() else True
    for line in ("nothing.xml", "a/b", "../**/none.xml"):
        with pytest.raises(UsageError, match="no file is meant"):
            found(line)
    with pytest.raises(UsageError, match="is no pattern"):
        globbed("", tmp_path)


@pytest.mark.parametrize(
    ("code", "told", "green"),
    [
        (0, {"failed": 0, "new": 0, "still": 0}, ["failure", "new", "incomplete", "never"]),
        (1, {"failed": 2, "new": 0, "still": 2}, ["new", "incomplete", "never"]),
        (1, {"failed": 2, "new": 1, "still": 1}, ["incomplete", "never"]),
        (1, {"failed": 2, "new": 0, "still": 1}, ["incomplete", "never"]),  # one of them had no base
        (3, {"failed": 0, "new": 0, "still": 0}, ["never"]),
        (9, {"failed": 1, "new": 0, "still": 1}, ["never"]),
    ],
)
def test_what_is_red(
    code: int, told: dict[str, int], green: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = {"new": ["x"] * told["new"], "still": ["x"] * told["still"]}
    value: dict[str, Any] = {"failed": told["failed"], "errored": 0, "comparison": comparison}
    seen = [word for word in ("failure", "new", "incomplete", "never") if judged(word, code, value) == 0]
    assert seen == green
    assert judged("failure", code, value) == code
    assert capsys.readouterr().out.count("is green here") == (len(green) if code else 0)


def test_an_action_asks_github_only_for_what_needs_it() -> None:
    assert not asks_github(defaults("test", "report"))
    assert asks_github(defaults("test", "report", fail_on="new"))
    assert all(asks_github(defaults(name, "report")) for name in ("tpu-test", "gpu-test", "report"))
    script = (Path(action.__file__).parents[2] / "scripts" / "action").read_text()
    assert "*comment* | *check* | *issue* | *history* | *:new)" in script  # the same in what installs


@given(st.text(max_size=300), st.text(max_size=300))
def test_every_job_has_a_part_of_the_comment_that_comments_take(job: str, suites: str) -> None:
    values = defaults("test", "report", suites=suites)
    assert KEY.fullmatch(part_name(values, ACTIONS["test"], {"GITHUB_JOB": job}))


def test_jobs_that_run_different_things_have_different_parts() -> None:
    def part(job: str = "unit", **values: str) -> str:
        return part_name(defaults("test", "report", **values), ACTIONS["test"], {"GITHUB_JOB": job})

    assert part() == "unit"
    assert part(suites="a, b", shard="") == "unit-a-b"
    names = [
        part(ids="x-1of2"),
        part(ids="x-2of2"),
        part(shard="1/2"),
        part(shard="1-2"),
        part(suites="y" * 200),
    ]
    names += [part(suites="y" * 201), part(job="other")]
    assert len(set(names)) == len(names)
    assert part_name(defaults("test", "report"), ACTIONS["test"], {}) == "test"


class Again(Exception):  # noqa: N818 - no fault
    """The step began again."""


PULL = {"GITHUB_EVENT_NAME": "pull_request"}
IN_JOB = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "org/app"}
SHARDS = '[suites.unit]\ntests = ["tests"]\nshards = 2\n'
KEPT = '[stores]\nhistory = "records"\n'


@pytest.mark.parametrize(
    ("name", "step", "configuration", "event", "again"),
    [
        ("plan", "plan", TPU, PULL, True),
        ("plan", "plan", "", PULL, False),
        ("plan", "plan", TPU, {"GITHUB_EVENT_NAME": "push"}, False),
        ("plan", "plan", TPU, {"GITHUB_EVENT_NAME": "push", "GITHUB_RUN_ATTEMPT": "2"}, True),
        ("plan", "plan", TPU, {**PULL, "CI_RUNNER_EXTRAS": "stores github"}, False),
        ("plan", "plan", SHARDS, {**IN_JOB, "GITHUB_EVENT_NAME": "push"}, True),
        ("plan", "plan", SHARDS, {"GITHUB_EVENT_NAME": "push"}, False),
        ("plan", "plan", SHARDS + KEPT, {**IN_JOB, "GITHUB_EVENT_NAME": "push"}, False),
        ("tpu-test", "run", "", {"GITHUB_EVENT_NAME": "issue_comment", "CI_RUNNER_EXTRAS": "gcp ssh"}, True),
        ("test", "run", TPU, PULL, False),
        ("test", "report", "", PULL, False),
        ("test", "report", KEPT, PULL, True),
        ("report", "report", "", PULL, True),
    ],
)
def test_the_library_for_github_is_installed_where_github_may_be_asked(
    name: str,
    step: str,
    configuration: str,
    event: dict[str, str],
    again: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began = {"GITHUB_RUN_ATTEMPT": "1", "INPUT_SUITES": "x", **event}
    seen: list[Any] = []

    def execve(program: str, words: list[str], environ: dict[str, str]) -> None:
        seen.append((Path(program).name, words[1:], environ))
        raise Again

    (tmp_path / "ci-runner.toml").write_text(configuration)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNNER_TEMP", str(tmp_path / "t"))
    monkeypatch.setenv("GITHUB_TOKEN", "t")
    for variable in IN_JOB:
        monkeypatch.delenv(variable, raising=False)
        if variable in event:
            monkeypatch.setenv(variable, event[variable])
    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setattr(action_run, "command", lambda *_words: 0)
    values = defaults(name, step) | ({"results-folder": ""} if step == "report" else {})
    try:
        step_of(ACTIONS[name], step)(ACTIONS[name], values, began)
    except Again:
        ((program, words, environ),) = seen
        assert (program, words) == ("action", [name, step])
        assert environ.pop("CI_RUNNER_EXTRAS").split() == [
            *event.get("CI_RUNNER_EXTRAS", "").split(),
            "github",
        ]
        assert environ.items() <= began.items()
    except CiRunnerError:
        assert not again  # nothing is here to be planned, run or told of
    assert bool(seen) is again


def test_a_report_that_asks_nobody_has_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for publish, place, token in (
        ("summary", str(tmp_path / "history"), None),
        ("summary comment", None, "t"),
        ("summary, history", None, "t"),
    ):
        monkeypatch.setenv("GITHUB_TOKEN", "t")
        monkeypatch.delenv("CI_RUNNER_STORES__HISTORY", raising=False)
        prepare(ACTIONS["test"], defaults("test", "report", publish=publish), {}, tmp_path)
        assert os.environ.get("CI_RUNNER_STORES__HISTORY") == place
        assert os.environ.get("GITHUB_TOKEN") == token


def test_the_library_that_is_there_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execve", lambda *_words: pytest.fail("nothing is missing"))
    with_library(ACTIONS["tpu-test"], "run", {"GITHUB_EVENT_NAME": "pull_request"})


def test_records_stay_out_of_the_checkout_unless_they_have_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ: dict[str, str] = {}
    assert action.keep_records({}, tmp_path / "t", environ).stores["history"] == str(
        tmp_path / "t" / "history"
    )
    place = str(tmp_path / "t" / "history")
    assert environ == {"CI_RUNNER_STORES__HISTORY": place, "CI_RUNNER_UNKEPT": place}
    (tmp_path / "other.toml").write_text('[stores]\nhistory = "records"\n')
    environ = {}
    assert action.keep_records({"config": "other.toml"}, tmp_path, environ).stores["history"] == "records"
    assert environ == {}


def test_a_folder_that_is_not_there_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="cannot work there"):
        enter("nowhere", {"GITHUB_WORKSPACE": str(tmp_path)})
    (tmp_path / "part").mkdir()
    enter("part", {"GITHUB_WORKSPACE": str(tmp_path)})
    assert Path.cwd() == tmp_path / "part"
    with pytest.raises(UsageError, match="RUNNER_TEMP is not set"):
        temporary({})
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot make a folder"):
        temporary({"RUNNER_TEMP": str(tmp_path / "file")})


@pytest.mark.parametrize(
    ("name", "configuration", "given", "words"),
    [
        ("tpu-test", TPU, {}, ["--test-path=tests", "--machine=tpu"]),
        ("tpu-test", TPU + TPU.replace("tpu]", "big]"), {}, "one of big, tpu"),
        ("tpu-test", "", {}, "give the input tpu-type"),
        ("gpu-test", TPU, {}, "give the input instance-type"),
        ("gpu-test", TPU, {"instance_type": "g5.xlarge"}, ["--test-path=tests", "--instance-type=g5.xlarge"]),
        (
            "gpu-test",
            TPU,
            {"machine": "tpu"},
            "use the action tpu-test, or the action benchmark with platform: gcp",
        ),
        ("test", TPU, {}, ["--test-path=tests"]),
        ("benchmark", TPU, {"platform": "gcp", "machine": "tpu"}, ["--test-path=tests", "--machine=tpu"]),
        ("benchmark", TPU, {"test_path": ""}, "name a suite"),
    ],
)
def test_tests_without_a_suite_run_on_the_one_machine_that_can_be_meant(
    name: str,
    configuration: str,
    given: dict[str, str],
    words: list[str] | str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "ci-runner.toml").write_text(configuration)
    monkeypatch.chdir(tmp_path)
    settings = action.keep_records({}, tmp_path, {})
    values = defaults(name, "run", **{"test_path": "tests", **given})
    if isinstance(words, list):
        assert action_run.chosen(ACTIONS[name], values, settings, tmp_path / "plan.json") == words
    else:
        with pytest.raises(UsageError) as raised:
            action_run.chosen(ACTIONS[name], values, settings, tmp_path / "plan.json")
        assert words in (raised.value.fix or "")


def test_what_gives_nothing_back_and_what_is_no_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local = defaults("benchmark", "release", platform="local")
    assert action_run.release(ACTIONS["benchmark"], local, {}) == 0
    assert main(["action", "test", "nothing"]) == 2
    assert "the action test has no step" in capsys.readouterr().err


def test_the_command_is_found_and_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "action" not in [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_a_report_that_cannot_be_made_still_says_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNNER_TEMP", str(tmp_path))
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "out"))
    monkeypatch.setenv("INPUT_PUBLISH", "carrier-pigeon")
    monkeypatch.setenv("INPUT_FILES", "*.xml")
    (tmp_path / "a.xml").write_text("<testsuite/>")
    assert main(["action", "report", "report"]) == 2
    assert 'there is no publisher "carrier-pigeon"' in capsys.readouterr().err
    text = (tmp_path / "out").read_text()
    assert text.startswith("conclusion<<")
    assert text.splitlines()[1] == "error"
    assert json.dumps(text).count("<<") == 14
