"""What `run` decides before anything runs: which suites, which part of them, for whom; and what it refuses."""

from __future__ import annotations

import dataclasses
import getpass
import importlib
import io
import json
import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ci_runner import codec, errors
from ci_runner.cli import run, running
from ci_runner.config.settings import Settings
from ci_runner.errors import UsageError
from ci_runner.model import Event, MachineSpec, Plan, Selection, Shard, Suite

SUITE = Suite(name="unit", title="Unit tests", tests=("tests/test_a.py", "tests"))
GO = Suite(name="go", title="Go", command="go test ./...")
Write = Callable[[str], Path]


def selection(suite: Suite = SUITE, shard: Shard | None = None) -> Selection:
    return Selection(suite=suite, reason="named", rule="command line", shard=shard)


def plan(*selected: Selection, nothing_due: bool = False) -> Plan:
    return Plan(event=Event(kind="local"), selected=selected, nothing_due=nothing_due)


def arguments(*words: str) -> Namespace:
    """The command line of `run`, parsed."""
    parser = ArgumentParser()
    run.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes ci-runner.toml into the folder in which the command runs; no git and no CI are asked."""
    (tmp_path / ".git").mkdir()  # where the search upwards for a configuration ends
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(running, "find_event", lambda *_args, **_named: Event(kind="local"))

    def write(text: str) -> Path:
        (tmp_path / "ci-runner.toml").write_text(text)
        return tmp_path

    return write


TWO = '[suites.unit]\ntests = ["tests"]\n[suites.go]\ncommand = "go test ./..."\njunit = ["j.xml"]\n'


# -- parts


@pytest.mark.parametrize(("text", "part"), [("1/1", (1, 1)), ("2/4", (2, 4)), ("010/10", (10, 10))])
def test_a_part_of_a_whole(text: str, part: tuple[int, int]) -> None:
    assert running.parse_shard(text) == part


@given(st.text(st.sampled_from("0123456789/ -+²٣_."), max_size=8))
@example("1/" + "9" * 5000)
@example("0/2")
@example("3/2")
def test_anything_else_is_refused_with_the_way_to_write_it(text: str) -> None:
    plain = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if plain and 1 <= int(plain[1]) <= int(plain[2]):
        assert running.parse_shard(text) == (int(plain[1]), int(plain[2]))
        return
    with pytest.raises(UsageError, match="is not a part of a whole") as caught:
        running.parse_shard(text)
    assert "2/4" in str(caught.value.fix)


def test_a_command_cannot_be_split(configured: Write) -> None:
    configured(TWO)
    with pytest.raises(UsageError, match='"go" is one command and cannot be split'):
        running.chosen_by(arguments("go", "--shard", "1/2"))
    whole = running.chosen_by(arguments("go", "--shard", "1/1"))
    assert whole.plan.selected[0].shard is None


def test_every_suite_of_the_run_is_split_alike(configured: Write) -> None:
    configured(TWO)
    chosen = running.chosen_by(arguments("unit", "--shard", "2/3"))
    assert chosen.plan.selected[0].shard == Shard(index=2, total=3)
    assert chosen.shards == {"unit": (Shard(index=2, total=3),)}


# -- what to run


def test_one_test_needs_to_know_its_suite(configured: Write) -> None:
    configured(TWO)
    with pytest.raises(UsageError, match="--only needs to know the suite") as caught:
        running.chosen_by(arguments("--only", "tests/test_a.py::test_x"))
    assert caught.value.fix == "name one suite: go, unit"
    assert running.chosen_by(arguments("unit", "--only", "x")).plan.selected[0].suite.name == "unit"


def test_a_part_of_no_plan_is_refused(configured: Write) -> None:
    configured(TWO)
    with pytest.raises(UsageError, match="--id names a part of a saved plan"):
        running.chosen_by(arguments("--id", "unit"))


def test_a_folder_without_anything_says_both_ways_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configured: Write
) -> None:
    with pytest.raises(UsageError, match="nothing that looks like tests") as caught:
        running.settings_of(None, ())
    assert "--test-path" in str(caught.value.fix)
    assert "ci-runner init" in str(caught.value.fix)


def test_a_configuration_without_suites_is_not_said_to_be_missing(configured: Write) -> None:
    configured("[project]\nname = 'x'\n")
    with pytest.raises(UsageError, match=r"no suite in ci-runner\.toml here") as caught:
        running.settings_of(None, ())
    assert "[suites.NAME]" in str(caught.value.fix)


def test_a_kind_of_event_without_a_file_is_refused(
    configured: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(TWO)
    for name in ("CI", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="no file is named"):
        running.chosen_by(arguments("--event-name", "push"))


def test_named_paths_are_a_suite_of_their_own(configured: Write) -> None:
    configured(TWO)
    (only,) = running.chosen_by(arguments("--test-path", "a", "--test-path", "b")).plan.selected
    assert (only.suite.name, only.suite.tests) == ("test-path", ("a", "b"))


def test_a_machine_that_is_named_stands_in_for_this_one_and_brings_the_suites_that_belong_to_it(
    configured: Write,
) -> None:
    machines = "".join(
        f'[machines.{name}]\nprovider = "gcp-tpu"\ntype = "v6e-1"\nzones = ["us-east5-b"]\n'
        for name in ("tpu", "pod")
    )
    suites = "".join(
        f'[suites.{name}]\ntests = ["tests"]\nmachine = "{machine}"\ntier = "{tier}"\n'
        for name, machine, tier in (
            ("unit", "local", "cpu"),
            ("night", "local", "on-demand"),
            ("wide", "pod", "cpu"),
            ("kernels", "tpu", "accelerator"),
        )
    )
    configured(machines + suites)

    def reasons(*words: str) -> dict[str, str]:
        return {item.suite.name: item.reason for item in running.chosen_by(arguments(*words)).plan.selected}

    assert reasons() == {"unit": "runs on this machine"}
    assert reasons("--machine", "tpu") == {
        "unit": 'runs anywhere, and "tpu" is named',
        "kernels": 'belongs to "tpu", which is named',
    }
    assert list(reasons("--platform", "gcp", "--tpu-type", "v6e-1")) == ["unit"]
    assert reasons("wide", "--machine", "tpu") == {"wide": "it was named"}
    assert running.chosen_by(arguments("--machine", "tpu")).machine == "tpu"
    with pytest.raises(errors.UsageError, match='no machine is called "tpus"') as caught:
        running.chosen_by(arguments("--machine", "tpus", "--dry-run"))
    assert caught.value.fix == "choose one of: local, pod, tpu"


# -- saved plans


def saved(folder: Path, *selected: Selection) -> str:
    path = folder / "plan.json"
    path.write_text(codec.dumps(plan(*selected)))
    return str(path)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("unit",), "SUITE"),
        (("--all",), "--all"),
        (("--shard", "1/2"), "--shard"),
        (("--changed-files", "f"), "--changed-files"),
    ],
)
def test_what_a_plan_has_decided_is_not_decided_again(
    configured: Write, words: tuple[str, ...], what: str
) -> None:
    folder = configured(TWO)
    with pytest.raises(UsageError, match=f"--plan has decided what runs, and {what} decides it again"):
        running.chosen_by(arguments("--plan", saved(folder, selection()), *words))


def test_a_plan_that_cannot_be_read_says_why(configured: Write) -> None:
    folder = configured(TWO)
    with pytest.raises(UsageError, match="cannot read the plan: No such file") as caught:
        running.chosen_by(arguments("--plan", "gone.json"))
    assert "--save-plan" in str(caught.value.fix)
    (folder / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot read the plan: it is no text"):
        running.chosen_by(arguments("--plan", "binary"))


def test_a_plan_for_a_machine_that_is_not_configured_is_refused(configured: Write) -> None:
    folder = configured(TWO)
    moon = selection(dataclasses.replace(SUITE, machine="moon\n::error::x"))
    with pytest.raises(UsageError, match="which the configuration does not have") as caught:
        running.chosen_by(arguments("--plan", saved(folder, moon)))
    assert "\n" not in caught.value.what


# -- the session


def session(settings: Settings, **values: object) -> object:
    return running.session_of(settings, io.StringIO(), **values)  # type: ignore[arg-type]


def test_an_unknown_machine_names_those_that_there_are(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, machines={"local": MachineSpec(name="local")})
    with pytest.raises(UsageError, match='no machine is called "moon"') as caught:
        session(settings, machine="moon")
    assert caught.value.fix == "choose one of: local"


def test_whoever_starts_a_run_is_named_even_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert running.developer_of({"GITHUB_ACTOR": "octocat"}) == "octocat"
    monkeypatch.setattr(getpass, "getuser", lambda: "alice")
    assert running.developer_of({"GITHUB_ACTOR": ""}) == "alice"

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert running.developer_of({}) == str(os.getuid())


def test_a_part_that_cannot_be_loaded_early_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(name: str) -> ModuleType:
        asked.append(name)
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    running.load_publishers()
    assert asked == ["ci_runner.results.verdict"]


def test_publishers_are_loaded_once_however_many_jobs_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(running, "load_meanwhile", lambda: loaded.append("once"))
    monkeypatch.setattr(running, "head_commit", lambda _root: None)
    found = running.session_of(
        Settings(root=tmp_path, machines={"local": MachineSpec(name="local")}), io.StringIO()
    )
    found.when_busy()
    found.when_busy()
    assert loaded == ["once"]


# -- a dry run


def test_a_dry_run_says_what_and_which_part() -> None:
    text = running.dry_run_text(plan(selection(shard=Shard(index=2, total=4)), selection(GO)), "text")
    assert text.splitlines() == [
        "unit → Unit tests: test_a, tests (shard 2 of 4)",
        "go → Go: go test ./...",
    ]
    assert "ci-runner plan --explain" in running.dry_run_text(plan(), "text")
    shown = json.loads(running.dry_run_text(plan(selection()), "json"))
    assert shown["selected"][0]["suite"]["name"] == "unit"


def test_nothing_to_run_is_green_only_if_the_configuration_says_so() -> None:
    assert running.exit_of_empty(plan()) == errors.USAGE
    assert running.exit_of_empty(plan(nothing_due=True)) == errors.OK
    assert running.exit_of_empty(plan(selection())) == errors.OK
