"""From an event to a plan: which suites, by which rule, on what evidence; and the same plan for the same event."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner import codec
from ci_runner.cli.main import main
from ci_runner.config.load import load_settings
from ci_runner.config.settings import Settings
from ci_runner.errors import ConfigurationError, EventError, UsageError
from ci_runner.github.changes import parse_changed_files
from ci_runner.github.event import event_from, event_from_payload, saved_text, with_inputs
from ci_runner.github.outputs import write_outputs
from ci_runner.model import ChangedFile, ChangeKind, Event, Lane, MachineSpec, Plan, Selection, Suite, When
from ci_runner.plan.matrix import matrix_of, part_of, read_plan
from ci_runner.plan.paths import matches
from ci_runner.plan.select import select

TEAM = """
[project]
ignored-paths = ["*.md"]
[path-groups]
compiler = ["src/jit/**"]
[machines.tpu]
provider = "gcp-tpu"
[suites.unit]
tests = ["tests/unit"]
tier = "cpu"
[suites.docs]
tests = ["tests/docs"]
[suites.docs.when]
events = ["push", "pull_request"]
paths = ["docs/**", "!docs/drafts/**"]
labels = ["run-docs"]
skip-labels = ["skip-docs"]
[suites.jit]
tests = ["tests/jit"]
[suites.jit.when]
events = ["pull_request", "merge_group"]
path-groups = ["compiler"]
branches = ["main", "release/*"]
drafts = false
[suites.night]
tests = ["tests/night"]
[suites.night.when]
schedule = ["0 2 * * *"]
[suites.tpu]
tests = ["tests/tpu"]
machine = "tpu"
tier = "accelerator"
[suites.tpu.when]
labels = ["run-tpu-tests"]
label-mode = "present"
[suites.asked]
tests = ["tests/asked"]
[suites.asked.when]
inputs = { deep = "true" }
[suites.bare]
tests = ["tests/bare"]
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path, TEAM)


def settings_of(folder: Path, text: str) -> Settings:
    (folder / "ci-runner.toml").write_text(text)
    return load_settings(folder, environ={})


def files(*paths: str) -> tuple[ChangedFile, ...]:
    return tuple(ChangedFile(path=path) for path in paths)


PULL = Event(
    kind="pull_request",
    action="synchronize",
    repository="o/r",
    branch="topic",
    base_branch="main",
    commit="a" * 40,
    pull_request=7,
    changed_files=files("src/a.py"),
)


def chosen(event: Event, settings: Settings, **more: Any) -> set[str]:
    return {selection.suite.name for selection in select(event, settings, **more).selected}


def skips(event: Event, settings: Settings, **more: Any) -> dict[str, str]:
    return {skip.suite: skip.code for skip in select(event, settings, **more).skipped}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"changed_files": files("docs/a.md")}, {"unit", "docs"}),
        ({"changed_files": files("docs/drafts/a.md", "src/jit/x.py")}, {"unit", "jit"}),
        ({"changed_files": files("src/jit/x.py")}, {"unit", "jit"}),
        ({"changed_files": files("src/jit/x.py"), "draft": True}, {"unit"}),
        ({"changed_files": files("src/jit/x.py"), "base_branch": "dev"}, {"unit"}),
        ({"changed_files": files("src/jit/x.py"), "base_branch": "release/1"}, {"unit", "jit"}),
        ({"changed_files": files("README.md")}, set()),
        ({"changed_files": files("src/new.py")}, {"unit", "docs", "jit"}),  # unknown: more, not less
        ({"changed_files": None, "changed_files_note": "no merge base"}, {"unit", "docs", "jit"}),
        ({"action": "closed"}, set()),
        ({"action": "labeled", "label_added": "run-docs", "labels": ("run-docs",)}, {"docs"}),
        ({"action": "labeled", "label_added": "other", "labels": ("run-docs", "other")}, set()),
        ({"action": "labeled", "label_added": "run-tpu-tests", "labels": ("run-tpu-tests",)}, {"tpu"}),
        ({"changed_files": files("README.md"), "labels": ("run-tpu-tests",)}, {"tpu"}),
        ({"changed_files": files("docs/a.md"), "labels": ("skip-docs",)}, {"unit"}),
        ({"changed_files": files("docs/a.md"), "labels": ("no-unit",)}, {"docs"}),
        ({"action": "labeled", "label_added": "test-config/bare", "labels": ("test-config/bare",)}, {"bare"}),
        (
            {
                "changed_files": (
                    ChangedFile(path="x/a.md", previous_path="docs/a.md", kind=ChangeKind.RENAMED),
                )
            },
            {"unit", "docs"},
        ),
    ],
)
def test_pull_requests(changes: dict[str, Any], expected: set[str], settings: Settings) -> None:
    found = chosen(dataclasses.replace(PULL, **changes), settings)
    if changes.get("changed_files") and changes["changed_files"][0].path == "x/a.md":
        assert expected <= found  # the new place of a moved file is unknown: more may run
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Event(kind="push", branch="main", changed_files=files("docs/a.md")), {"docs"}),
        (Event(kind="schedule", schedule="0 2 * * *", branch="main"), {"night"}),
        (Event(kind="schedule", schedule="1 1 * * *", branch="main"), set()),
        (Event(kind="merge_group", base_branch="main", changed_files=files("src/jit/a.py")), {"jit"}),
        (Event(kind="workflow_dispatch", inputs={"deep": "true"}), {"asked"}),
        (Event(kind="workflow_dispatch", inputs={"test-config": "bare"}), {"bare"}),
        (Event(kind="workflow_dispatch", inputs={"suites": "unit, docs"}), {"unit", "docs"}),
    ],
)
def test_other_events(event: Event, expected: set[str], settings: Settings) -> None:
    found = chosen(event, settings)
    assert expected <= found
    assert not (found - expected) & {"docs", "jit", "night", "tpu", "asked", "bare"}


def test_every_suite_is_told_once_with_a_reason(settings: Settings) -> None:
    plan = select(PULL, settings)
    told = [selection.suite.name for selection in plan.selected] + [skip.suite for skip in plan.skipped]
    assert sorted(told) == sorted(settings.suites)
    assert all(skip.reason and skip.code and skip.rule for skip in plan.skipped)
    assert all(selection.reason and selection.rule for selection in plan.selected)


def test_names_everything_and_what_ran_already(settings: Settings) -> None:
    assert chosen(PULL, settings, names=["bare"]) == {"bare"}
    assert chosen(PULL, settings, everything=True) == set(settings.suites)
    again = dataclasses.replace(PULL, changed_files=files("docs/a.md"))
    assert "docs" not in chosen(again, settings, already=frozenset({"docs"}))
    assert skips(again, settings, already=frozenset({"docs"}))["docs"] == "already-ran"
    assert "docs" in chosen(again, settings, names=["docs"], already=frozenset({"docs"}))
    with pytest.raises(UsageError, match="contradict"):
        select(PULL, settings, names=["unit"], everything=True)


@pytest.mark.parametrize(
    ("event", "names", "near"),
    [
        (PULL, ["unti"], "unit"),
        (dataclasses.replace(PULL, action="labeled", label_added="test-config/dcos",
                             labels=("test-config/dcos",)), [], "docs"),
        (Event(kind="workflow_dispatch", inputs={"test-config": "bear"}), [], "bare"),
    ],
)  # fmt: skip
def test_a_name_that_is_none_is_an_error_with_what_was_meant(
    event: Event, names: list[str], near: str, settings: Settings
) -> None:
    with pytest.raises(UsageError) as caught:
        select(event, settings, names=names)
    assert near in " ".join(caught.value.lines())


def test_two_suites_may_not_claim_one_name(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path, '[suites.a]\ntests = ["a"]\nexclusive = "x"\n[suites.b]\ntests = ["b"]\nexclusive = "x"\n'
    )
    with pytest.raises(ConfigurationError) as caught:
        select(PULL, settings, everything=True)
    assert 'suites.a and suites.b both claim exclusive = "x"' in caught.value.problems
    assert chosen(PULL, settings, names=["a"]) == {"a"}


def test_code_of_a_fork_leases_nothing(settings: Settings) -> None:
    fork = dataclasses.replace(
        PULL, lane=Lane.FORK, labels=("run-tpu-tests",), changed_files=files("README.md")
    )
    assert skips(fork, settings)["tpu"] == "untrusted"
    assert not select(fork, settings).nothing_due
    reviewed = dataclasses.replace(fork, lane=Lane.FORK_REVIEWED)
    assert chosen(reviewed, settings) == {"tpu"}
    secret = dataclasses.replace(fork, kind="pull_request_target", labels=())
    assert (
        "untrusted" in skips(dataclasses.replace(secret, lane=Lane.FORK), settings, everything=True).values()
    )


def test_an_empty_selection_is_green_only_if_the_configuration_has_thought_of_it(
    settings: Settings, tmp_path: Path
) -> None:
    quiet = dataclasses.replace(PULL, changed_files=files("README.md"))
    assert select(quiet, settings).nothing_due
    red = settings_of(tmp_path, TEAM.replace("[project]", '[project]\nnothing-due = "red"'))
    assert not select(quiet, red).nothing_due
    assert not select(Event(kind="repository_dispatch"), settings).nothing_due


LABELS = st.lists(
    st.sampled_from(["run-docs", "run-tpu-tests", "test-config/bare", "test-config/unit", "bug", "RUN-DOCS"]),
    unique=True,
    max_size=4,
).map(tuple)
PATHS = st.lists(
    st.sampled_from(["docs/a.md", "docs/drafts/x", "src/jit/a.py", "README.md", "src/b.py"]), unique=True
)


@given(labels=LABELS, extra=LABELS, paths=PATHS, action=st.sampled_from(["opened", "synchronize", "labeled"]))
def test_a_label_more_never_removes_a_suite(
    labels: tuple[str, ...], extra: tuple[str, ...], paths: list[str], action: str, tmp_path_factory: Any
) -> None:
    settings = _kept(tmp_path_factory)
    event = dataclasses.replace(PULL, action=action, labels=labels, changed_files=files(*paths))
    more = dataclasses.replace(event, labels=tuple(dict.fromkeys(labels + extra)))
    assert chosen(event, settings) <= chosen(more, settings)


@given(labels=LABELS, paths=PATHS, name=st.from_regex(r"[a-z]{1,8}\.(py|c|rs)", fullmatch=True))
def test_an_unknown_file_never_selects_less(
    labels: tuple[str, ...], paths: list[str], name: str, tmp_path_factory: Any
) -> None:
    settings = _kept(tmp_path_factory)
    event = dataclasses.replace(PULL, labels=labels, changed_files=files(*paths))
    more = dataclasses.replace(event, changed_files=files(*paths, f"other/{name}"))
    assert chosen(event, settings) <= chosen(more, settings)


@given(labels=LABELS, paths=PATHS)
def test_the_same_input_gives_the_same_plan(
    labels: tuple[str, ...], paths: list[str], tmp_path_factory: Any
) -> None:
    settings = _kept(tmp_path_factory)
    event = dataclasses.replace(PULL, labels=labels, changed_files=files(*paths))
    assert codec.dumps(select(event, settings)) == codec.dumps(select(event, settings))


_SETTINGS: list[Settings] = []


def _kept(factory: Any) -> Settings:
    if not _SETTINGS:
        _SETTINGS.append(settings_of(factory.mktemp("kept"), TEAM))
    return _SETTINGS[0]


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (["docs/**"], "docs/a/b.md", True),
        (["docs/*"], "docs/a/b.md", False),
        (["**/*.py"], "a.py", True),
        (["*.{md,rst}"], "a.rst", True),
        (["src/[a-c]?.py"], "src/bx.py", True),
        (["src/[!a-c]x.py"], "src/bx.py", False),
        (["**", "!docs/**"], "docs/a", False),
        (["**", "!docs/**", "docs/keep"], "docs/keep", True),
        (["a.b"], "axb", False),
        (["release/*"], "release/1", True),
        (["[x"], "[x", True),
    ],
)
def test_globs(patterns: list[str], path: str, expected: bool) -> None:
    assert matches(patterns, path) is expected


# -- events


OCTOKIT = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "events" / "octokit" / "payloads.jsonl")
    .read_text()
    .splitlines()
]


@pytest.mark.parametrize("example", OCTOKIT, ids=[item["source"] for item in OCTOKIT])
def test_each_example_of_github_is_an_event_unless_a_ref_was_deleted(
    example: Any, settings: Settings
) -> None:
    if example["payload"].get("deleted"):
        with pytest.raises(EventError, match="there is no commit to test"):
            event_from_payload(example["name"], example["payload"])
        return
    event = event_from_payload(example["name"], example["payload"])
    assert event.kind == example["name"]
    if event.kind == "pull_request":
        assert event.pull_request == example["payload"]["number"]
        assert event.commit == example["payload"]["pull_request"]["head"]["sha"]
    plan = select(event, settings)
    assert len(plan.selected) + len(plan.skipped) == len(settings.suites)


@pytest.mark.parametrize(
    ("name", "payload", "words"),
    [
        ("pull_requets", {}, "pull_request"),
        ("issues", {}, "use one of"),
        ("pull_request", {"number": "x"}, ""),
        ("pull_request", {"pull_request": []}, ""),
        ("push", {"ref": 5}, ""),
        ("merge_group", {}, ""),
    ],
)
def test_what_is_no_event_is_refused_in_words(name: str, payload: Any, words: str) -> None:
    with pytest.raises(EventError) as caught:
        event_from_payload(name, payload)
    assert words in " ".join(caught.value.lines())
    assert caught.value.fix


KEYS = [
    "number",
    "ref",
    "pull_request",
    "head",
    "base",
    "sha",
    "repo",
    "labels",
    "action",
    "commits",
    "after",
    "inputs",
    "merge_group",
    "label",
    "issue",
]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
)
NAMES = [
    "push",
    "pull_request",
    "merge_group",
    "workflow_dispatch",
    "repository_dispatch",
    "schedule",
    "workflow_run",
    "issue_comment",
]


@pytest.mark.parametrize("name", NAMES)
@given(value=ANYTHING)
def test_no_payload_crashes_the_reader(name: str, value: object) -> None:
    payload = value if isinstance(value, dict) else {"pull_request": value, "ref": value, "inputs": value}
    try:
        event = event_from_payload(name, payload)
    except EventError:
        return
    assert event.kind == name


def test_files_that_hold_no_event_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    for data, words in ((b"", "event"), (b"{", "JSON"), (b"[]", "no JSON object"), (b"{}", "--event-name")):
        path.write_bytes(data)
        with pytest.raises(EventError) as caught:
            event_from(path)
        assert words in " ".join(caught.value.lines())
    with pytest.raises(EventError):
        event_from(tmp_path / "missing.json")


def test_a_saved_event_comes_back_and_knows_its_kind(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "saved.json"
    path.write_text(saved_text(PULL))
    assert event_from(path) == PULL
    assert codec.dumps(select(event_from(path), settings)) == codec.dumps(select(PULL, settings))
    with pytest.raises(EventError, match="of kind"):
        event_from(path, name="push")
    broken = json.loads(saved_text(PULL))
    for key, value in (
        ("pull_request", "x"),
        ("labels", "x"),
        ("changed_files", [1]),
        ("lane", "Z"),
        ("kind", None),
    ):
        inner = (
            {**broken, key: value}
            if key in broken
            else {**broken, "event": {**broken.get("event", {}), key: value}}
        )
        path.write_text(json.dumps(inner))
        with pytest.raises(EventError):
            event_from(path)


def test_inputs_may_not_contradict_each_other() -> None:
    event = Event(kind="workflow_call", inputs={"a": "1"})
    assert with_inputs(event, {"b": "2"}).inputs == {"a": "1", "b": "2"}
    with pytest.raises(EventError, match="given twice"):
        with_inputs(event, {"a": "2"})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a.py\nb.py\n", ["a.py", "b.py"]),
        (b"M\ta.py\r\nR100\told.py\tnew.py\r\n", ["a.py", "new.py<old.py"]),
        (b'"d\\303\\266c.md"\n', ["d\u00f6c.md"]),
        (b"M\0a b.py\0R090\0x\0y\0", ["a b.py", "y<x"]),
        (b"a\0b\0", ["a", "b"]),
        (b'[{"filename": "a", "status": "removed"}, "b"]', ["a", "b"]),
        (b'{"files": [{"filename": "n", "previous_filename": "o", "status": "renamed"}]}', ["n<o"]),
        (b'[[{"filename": "a"}], [{"filename": "b"}]]', ["a", "b"]),
        (b"", []),
    ],
)
def test_lists_of_changed_files(data: bytes, expected: list[str]) -> None:
    found = [
        f"{item.path}<{item.previous_path}" if item.previous_path else item.path
        for item in parse_changed_files(data)
    ]
    assert found == expected


@pytest.mark.parametrize(
    "data",
    [b"[1]", b'{"a": 1}', b"R100\ta\n", b"M\0a\0R100\0b\0", b'[{"filename": 5}]', b'[{"filename": ""}]'],
)
def test_lists_that_cannot_be_read_say_where(data: bytes) -> None:
    with pytest.raises(EventError) as caught:
        parse_changed_files(data)
    assert caught.value.where


# -- the matrix, the command


def many(count: int) -> tuple[Plan, Settings]:
    suites = [
        Suite(name=f"s{number}", title="t", tests=("t",), env={"A": "x" * 50}) for number in range(count)
    ]
    selected = tuple(Selection(suite=suite, reason="r", rule="rule") for suite in suites)
    plan = Plan(event=PULL, selected=selected)
    machines = {"local": MachineSpec(name="local")}
    return plan, Settings(root=Path("/"), suites={suite.name: suite for suite in suites}, machines=machines)


@pytest.mark.parametrize("count", [0, 1, 256, 257, 3000])
def test_the_matrix_keeps_under_the_limits_and_loses_nothing(count: int) -> None:
    plan, settings = many(count)
    matrix = matrix_of(plan, settings)
    outputs = matrix.outputs
    assert all(len(value) < 1_000_000 for value in outputs.values())
    include = json.loads(outputs["matrix"])["include"]
    assert len(include) <= 256
    assert matrix.grouped == (count > 256)
    assert outputs["any"] == ("true" if count else "false")
    if matrix.grouped:
        named = [name for entry in include for name in str(entry["ids"]).split()]
        assert sorted(named) == sorted(selection.id for selection in plan.selected)
        part = part_of(read_plan(codec.dumps(plan), "plan.json"), named[:3])
        assert [selection.id for selection in part.selected] == named[:3]


def test_a_part_of_a_plan_that_is_not_there_is_refused() -> None:
    plan, _settings = many(2)
    with pytest.raises(UsageError):
        part_of(plan, ["s0", "nope"])
    with pytest.raises(UsageError):
        read_plan("{", "plan.json")


def test_outputs_cannot_be_broken_out_of(tmp_path: Path) -> None:
    target = tmp_path / "output"
    write_outputs(target, {"a": "x\nEOF\nb=1", "any": "true"})
    text = target.read_text()
    assert text.count("a<<") == 1
    assert "\nb=1\n" in text
    delimiter = text.split("a<<", 1)[1].split("\n", 1)[0]
    assert len(delimiter) > 16


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "ci-runner.toml").write_text(TEAM)
    (tmp_path / "event.json").write_text(
        saved_text(dataclasses.replace(PULL, changed_files=files("docs/a.md")))
    )
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_EVENT_PATH", "GITHUB_EVENT_NAME", "GITHUB_OUTPUT", "CI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_command_explains_every_suite(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--event", "event.json", "--explain"]) == 0
    text = capsys.readouterr().out
    for name in ("unit", "docs", "jit", "night", "tpu", "asked", "bare"):
        assert name in text
    assert "docs/a.md" in text
    assert "suites.docs.when.paths" in text
    assert "ci-runner.toml" in text
    assert main(["plan", "--event", "event.json"]) == 0
    assert "docs" in capsys.readouterr().out


def test_the_command_prints_the_matrix_and_writes_the_outputs(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(project / "output"))
    words = [
        "plan",
        "--event",
        "event.json",
        "--format",
        "json",
        "--save-plan",
        "p.json",
        "--save-event",
        "e.json",
    ]
    assert main([*words, "--explain"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["any"] is True
    assert {entry["suite"] for entry in found["matrix"]["include"]} == {"unit", "docs"}
    assert "matrix<<" in (project / "output").read_text()
    first = (project / "p.json").read_bytes()
    assert main(["plan", "--event", "e.json", "--format", "json", "--save-plan", "p.json"]) == 0
    capsys.readouterr()
    assert (project / "p.json").read_bytes() == first


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["plan", "--event", "event.json", "untt"], 2, "unit"),
        (["plan", "--event", "event.json", "--input", "x"], 2, "NAME=VALUE"),
        (["plan", "--event", "event.json", "--input", "a=1", "--input", "a=2"], 2, "given twice"),
        (["plan", "--event", "missing.json"], 2, "missing.json"),
        (["plan", "--event", "event.json", "--save-plan", "no/such/folder"], 2, "cannot write"),
        (["plan", "--event", "event.json", "--already-run", "dcos"], 2, "docs"),
    ],
)
def test_the_command_says_what_is_wrong(
    words: list[str], code: int, told: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    error = capsys.readouterr().err
    assert told in error
    assert "fix: " in error


def test_changed_files_of_a_list_replace_those_of_the_event(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "files.txt").write_text("README.md\n")
    words = ["plan", "--event", "event.json", "--changed-files", "files.txt", "--format", "json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["any"] is False
    (project / "files.txt").write_text("".join(f"docs/{number}.md\n" for number in range(3000)))
    assert main(["plan", "--event", "event.json", "--changed-files", "files.txt", "--explain"]) == 0
    assert "there may be more" in capsys.readouterr().out


COMMENT = {
    "action": "created",
    "repository": {"full_name": "octo/tests", "default_branch": "main"},
    "sender": {"login": "wendy"},
    "issue": {"number": 7, "pull_request": {"url": "https://api.github.com/x"}, "draft": True},
    "comment": {"body": "/anything"},
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"action": "edited"}, "the comment is not new"),
        ({"action": "deleted"}, "the comment is not new"),
        ({"issue": {"number": 7}}, "the comment is not on a pull request"),
    ],
)
def test_a_comment_on_a_pull_request_is_a_forks_until_somebody_says_more(
    change: dict[str, Any], reason: str
) -> None:
    event = event_from_payload("issue_comment", {**COMMENT, **change})
    assert (event.lane, event.commit, event.actor) == (Lane.FORK, None, "wendy")
    assert event.pull_request == (7 if "issue" not in change else None)
    suites = {
        name: Suite(
            name=name, title=name, tests=("t",), machine=machine, when=When(events=("issue_comment",))
        )
        for name, machine in (("here", "local"), ("there", "tpu"))
    }
    machines = {"tpu": MachineSpec(name="tpu", provider="gcp-tpu")}
    plan = select(event, Settings(root=Path("/p"), suites=suites, machines=machines))
    assert plan.selected == ()
    told = {skip.suite: (skip.code, skip.reason) for skip in plan.skipped}
    if change:
        assert told == dict.fromkeys(("here", "there"), ("action", reason))
    else:
        assert {code for code, _ in told.values()} == {"untrusted"}
        assert "issue_comment holds this repository's secrets" in told["here"][1]
