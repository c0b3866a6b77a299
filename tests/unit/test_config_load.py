"""Small configurations and what they come to: settings, or every problem at once with its place."""

from __future__ import annotations

import datetime as dt
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ci_runner.config.checks import EVENTS
from ci_runner.config.detect import detected_suites
from ci_runner.config.load import load_settings
from ci_runner.config.reference import key_lines, reference_text
from ci_runner.config.schema import json_schema
from ci_runner.config.settings import Notify, Settings
from ci_runner.errors import ConfigurationError, UsageError
from ci_runner.github.event import READERS
from ci_runner.model import LabelMode, Needs, Risk, Runner

DATA = Path(__file__).resolve().parents[1] / "data" / "config"
EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "pytorch" / "ci-runner.toml"
BAD = sorted(DATA.glob("bad/*.toml"))
GOOD = [*sorted(DATA.glob("good/*.toml")), EXAMPLE]
# What only a person's eye, or the rest of the file, can find wrong: an editor's schema cannot.
BEYOND_SCHEMA = {
    "contradictions",
    "crons",
    "environment-nul",
    "extends-cycle",
    "matrix",
    "unknown-names",
}
VALIDATOR = Draft202012Validator(json_schema())


def load(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> Settings:
    path = folder / "ci-runner.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return load_settings(folder, environ=environ or {}, config_file=path)


def problems(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text, environ)
    return [line.replace(str(folder / "ci-runner.toml"), "FILE") for line in caught.value.problems]


def as_json(path: Path) -> Any:
    """A TOML file as an editor's validator sees it: days are text."""

    def text(value: object) -> str:
        assert isinstance(value, (dt.date, dt.time))
        return value.isoformat()

    return json.loads(json.dumps(tomllib.loads(path.read_text(encoding="utf-8")), default=text))


# -- files and what is wrong with them


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_every_problem_is_told_at_once_with_path_reason_and_place(path: Path, tmp_path: Path) -> None:
    told = problems(tmp_path, path.read_bytes())
    assert told == path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    "path", [path for path in BAD if "syntax" not in path.stem], ids=lambda path: path.stem
)
def test_the_schema_refuses_what_the_loader_refuses_as_far_as_a_schema_can(path: Path) -> None:
    if path.stem == "integer-of-80-bits":
        pytest.skip("JSON has no limit for whole numbers")
    found = list(VALIDATOR.iter_errors(as_json(path)))
    assert bool(found) == (path.stem not in BEYOND_SCHEMA)


@pytest.mark.parametrize(
    "path", [path for path in GOOD if path.stem != "flags-unparsed"], ids=lambda path: path.stem
)
def test_the_schema_accepts_what_the_loader_accepts(path: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(as_json(path))] == []


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_the_same_input_gives_the_same_settings(path: Path) -> None:
    first = load_settings(path.parent, environ={}, config_file=path)
    second = load_settings(path.parent, environ={}, config_file=path)
    assert repr(first) == repr(second)  # not-a-number is not equal to itself
    assert first.fetched_from == (str(path),)
    assert set(first.values) <= set(first.origins)


def test_the_error_says_how_many_problems_there_are_in_which_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, "a = 1\nb = 2\n")
    assert caught.value.exit_code == 2
    lines = caught.value.lines()
    assert lines[0] == f"ci-runner: error: 2 problems in the configuration ({tmp_path / 'ci-runner.toml'})"
    assert lines[-1].startswith("fix: ")
    with pytest.raises(ConfigurationError, match=r"^1 problem in"):
        load(tmp_path, "a = 1\n")


def test_bytes_that_are_no_utf_8_are_told_with_their_line(tmp_path: Path) -> None:
    assert problems(tmp_path, b'a = "x"\nb = "\xe9"\n') == ["FILE:2: not UTF-8 (byte 0xe9)"]


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    assert load(tmp_path, b'\xef\xbb\xbf[project]\r\nname = "x"\r\n').name == "x"


def test_what_int_refuses_is_a_problem_of_the_file(tmp_path: Path) -> None:
    [told] = problems(tmp_path, f"[project]\nretry-limit = {'9' * 5000}\n")
    assert told.startswith("FILE: not valid TOML: ")


def test_nesting_without_end_is_a_problem_of_the_file(tmp_path: Path) -> None:
    [told] = problems(tmp_path, "a = " + "[" * 5000)
    assert told == "FILE: not valid TOML: nested too deeply"


def test_a_long_value_is_cut_in_its_problem(tmp_path: Path) -> None:
    [told] = problems(tmp_path, f'project.phase = "{"x" * 5000}"\n')
    assert len(told) < 300
    assert told.endswith("(FILE:1)")


@pytest.mark.parametrize("name", ["ci-runner.toml", "ci-runner.local.toml"])
def test_a_directory_instead_of_a_file_is_no_quiet_absence(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigurationError) as caught:
        load_settings(tmp_path, environ={})
    assert caught.value.problems == (f"{tmp_path / name}: cannot be read: is a directory",)


def test_a_pipe_and_a_dangling_link_are_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ci-runner.toml")
    (tmp_path / "ci-runner.local.toml").symlink_to(tmp_path / "nothing")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(tmp_path, environ={})
    assert [line.partition(": ")[2] for line in caught.value.problems] == [
        "cannot be read: is no regular file",
        "cannot be read: No such file or directory",
    ]


def test_a_configuration_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such configuration"):
        load_settings(tmp_path, environ={}, config_file=tmp_path / "other.toml")


def test_beside_a_file_that_cannot_be_read_nothing_is_called_unknown(tmp_path: Path) -> None:
    (tmp_path / "ci-runner.toml").write_text("[suites.unit\n", encoding="utf-8")
    (tmp_path / "ci-runner.local.toml").write_text(
        '[flags.new]\nsuites = ["unit"]\n[suites.docs]\ntests = ["docs"]\nmachine = "tpu"\n', encoding="utf-8"
    )
    with pytest.raises(ConfigurationError) as caught:
        load_settings(tmp_path, environ={"CI_RUNNER_SUITES__UNIT__TIMEOUT": "1m"})
    assert len(caught.value.problems) == 1
    assert "ci-runner.toml:1:13: not valid TOML" in caught.value.problems[0]


# -- values


def test_everything_arrives_where_the_program_looks_for_it() -> None:
    settings = load_settings(DATA, environ={}, config_file=DATA / "good" / "everything.toml")
    assert (settings.name, settings.default_branch, settings.default_runner) == (
        "everything",
        "trunk",
        Runner.SHELL,
    )
    assert (settings.phase, settings.fallback_risks, settings.allow_nothing_due) == ("2A", (Risk.LOW,), False)
    assert (settings.retry_limit, settings.resume_limit, settings.shadow_runs) == (5, 0, 7)
    assert settings.log_limit_bytes == 3 * 2**29
    assert (settings.developer, settings.team, settings.budgets) == ("ann", "kernels", {"kernels": 250.0})
    assert sorted(settings.machines) == ["local", "tpu"]
    assert settings.machines["tpu"].zones == ("us-central1-b", "us-east5-b")
    assert settings.machines["tpu"].options == {"network": "default"}
    unit = settings.suites["unit"]
    assert (unit.timeout_seconds, unit.setup_timeout_seconds, unit.workers) == (5400.0, 90.0, "4")
    assert unit.needs == Needs(cpus=2.0, memory_mb=512, exclusive=("accelerator",))
    assert unit.when.label_mode is LabelMode.PRESENT
    assert unit.when.inputs == {"size": "full"}
    assert unit.when.drafts is False
    assert settings.suites["go"].timeout_seconds == 600.5
    assert [entry.expires for entry in settings.quarantine] == ["2027-01-31", "2027-02-28", "2027-02-28"]
    assert settings.alerts[0].above == 1.1
    assert settings.alerts[0].below is None
    flag = settings.flags["use-python-test-runner"]
    assert (flag.enabled, flag.percentage, flag.problems) == (True, 12.5, ())
    assert flag.opt_in == {"users": ("ann",), "labels": ("python",)}
    assert settings.notify == {
        "chat": Notify(
            name="chat",
            kind="slack",
            url_env="SLACK_WEBHOOK_URL",
            events=("failure", "cost"),
            branches=("trunk", "!trunk/old"),
            quiet_hours=((dt.time(22), dt.time(7)), (dt.time(12), dt.time(13, 30))),
            time_zone="Europe/Berlin",
            quiet_passes=("urgent",),
            at_most=(6, 3600),
        ),
        "team": Notify(name="team", kind="teams", url_env="TEAMS_WEBHOOK_URL"),
    }
    assert settings.stores == {"history": "s3://bucket/prefix"}


def test_a_suite_starts_from_what_it_extends() -> None:
    suites = load_settings(DATA, environ={}, config_file=DATA / "good" / "extends.toml").suites
    assert sorted(suites) == ["distributed", "nightly", "other"]  # an abstract one never runs
    nightly = suites["nightly"]
    assert nightly.tests == (
        "tests/test_inductor.py",
        "tests/test_distributed.py",
        "tests/test_nightly.py",
    )
    assert (nightly.title, nightly.timeout_seconds) == ("InductorTestSuite", 7200.0)
    assert nightly.env == {"A": "1", "B": "2", "C": "2"}
    assert nightly.when.events == ("push",)
    assert nightly.when.labels == ("run-distributed",)
    assert nightly.when.schedule == ("0 2 * * *",)
    assert nightly.needs == Needs(cpus=4.0)  # a table of its own replaces the parent's
    assert suites["distributed"].when.schedule == ()  # the child has not changed its parent
    assert suites["other"].tests == (
        "tests/test_other.py",
        "tests/test_more.py",
    )  # in whatever order they stand


def test_a_matrix_makes_a_suite_of_each_combination() -> None:
    suites = load_settings(DATA, environ={}, config_file=DATA / "good" / "matrix.toml").suites
    assert list(suites) == ["unit-3.11-cpu-2", "unit-3.11-gpu_a-2", "unit-3.12-cpu-2"]
    suite = suites["unit-3.11-gpu_a-2"]
    assert (suite.base, suite.title, suite.workers) == ("unit", "unit on 3.11 with gpu/a", "2")
    assert suite.axes == {"python": "3.11", "backend": "gpu/a", "jobs": "2"}
    assert suite.tests == ("tests/gpu/a", "tests/common")
    assert suite.pytest_args == ("--backend=gpu/a", "--keep={other}")
    assert suite.setup == ("install 3.11 ${python}",)  # the shell's variable stays the shell's
    assert suite.env == {"PYTHON": "3.11"}


def test_a_flag_that_cannot_be_parsed_is_off_and_says_so() -> None:
    flags = load_settings(DATA, environ={}, config_file=DATA / "good" / "flags-unparsed.toml").flags
    assert flags["wrong"].enabled is False
    assert flags["wrong"].problems == (
        "flags.wrong.enabled is 'maybe', neither true nor false",
        "flags.wrong.percentage is 'arc', no number from 0 to 100",
    )
    assert [len(flags[name].problems) for name in ("beyond", "list", "not-a-number", "truth")] == [1, 2, 1, 1]
    assert (flags["loose"].enabled, flags["loose"].percentage, flags["loose"].problems) == (False, 50.0, ())
    assert (flags["whole"].enabled, flags["whole"].percentage, flags["whole"].problems) == (True, 100.0, ())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [('"90s"', 90.0), ('"1h30m"', 5400.0), ('"1.5 h"', 5400.0), ('"30d"', 2592000.0), ("1", 1.0)],
)
def test_durations(text: str, seconds: float, tmp_path: Path) -> None:
    settings = load(tmp_path, f'[suites.unit]\ntests = ["t"]\ntimeout = {text}\n')
    assert settings.suites["unit"].timeout_seconds == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ('"256MB"', 256_000_000),
        ('"1 kib"', 1024),
        ('"10"', 10),
        ("10", 10),
        ("0", 0),
        ('"1.5KB"', 1500),
        ('"2B"', 2),
    ],
)
def test_sizes(text: str, size: int, tmp_path: Path) -> None:
    assert load(tmp_path, f"[project]\nlog-limit = {text}\n").log_limit_bytes == size


def test_without_any_source_there_are_defaults(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={})
    assert (settings.root, settings.name, settings.fetched_from) == (tmp_path, tmp_path.name, ())
    assert list(settings.machines) == ["local"]
    assert {origin.kind for origin in settings.origins.values()} == {"default"}


# -- nothing else than settings or problems

WORDS = st.sampled_from(
    [
        "suites",
        "unit",
        "tests",
        "tests-add",
        "extends",
        "when",
        "matrix",
        "exclude",
        "flags",
        "enabled",
        "project",
        "phase",
        "machines",
        "local",
        "quarantine",
        "alerts",
        "timeout",
        "command",
        "junit",
        "env",
        "needs",
        "workers",
        "log-limit",
        "percentage",
        "opt-in",
        "suite",
        "abstract",
        "expires",
        "path-groups",
        "kpi",
        "notify",
        "stores",
        "machine",
        "{a}",
        "cpus",
        "budgets",
        "retry-limit",
        "schedule",
        "python",
        "::error::",
    ]
) | st.sampled_from(["", "a b", "\x00"])
SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    WORDS,
    st.text(max_size=8),
    st.dates(),
    st.times(),
    st.datetimes(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


def toml(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(char):08x}" for char in value) + '"'
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return str(value)


def any_folder(factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a property; below the base, whose files every other test would find upwards."""
    folder = factory.getbasetemp() / "any-configuration"
    folder.mkdir(exist_ok=True)
    return folder


def loads_or_tells(folder: Path, text: str, environ: Mapping[str, str]) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    try:
        first, told = repr(load(folder, raw, environ)), None
    except ConfigurationError as error:
        first, told = "", error.problems
    if told is None:
        assert first == repr(load(folder, raw, environ))
        return
    assert told
    assert all(line and line.isprintable() for line in told)
    assert not any(line.lstrip().startswith("::") for line in told)


SURE = {"project", "suites", "machines", "flags", "quarantine", "alerts", "unit"}
TREES = st.dictionaries(
    st.sampled_from(sorted(SURE)), st.dictionaries(WORDS, VALUES, max_size=4) | VALUES, max_size=5
)
VARIABLES = st.dictionaries(
    st.builds(
        lambda words: "CI_RUNNER_" + "__".join(word.upper().replace("-", "_") for word in words),
        st.lists(WORDS, min_size=1, max_size=4),
    ),
    st.text(max_size=8),
    max_size=3,
)


@settings(deadline=None)
@given(tree=TREES, environ=VARIABLES)
def test_any_tables_load_or_are_told_about(
    tree: dict[str, Any], environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = "".join(f"{toml(key)} = {toml(value)}\n" for key, value in tree.items())
    loads_or_tells(any_folder(tmp_path_factory), text, environ)


@settings(deadline=None)
@given(
    text=st.lists(
        st.sampled_from(
            ["[", "]", "[[", "]]", "=", ".", ",", "{", "}", "#", '"', "'", '"""', "\n", "\\", "1", "true"]
        )
        | WORDS
        | st.text(max_size=3)
    ).map("".join)
)
def test_any_text_loads_or_is_told_about(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    loads_or_tells(any_folder(tmp_path_factory), text, {})


# -- schema and reference


def described(node: Any, path: str = "") -> list[str]:
    """Keys of tables without a description."""
    missing = []
    if isinstance(node, dict):
        for key, item in node.get("properties", {}).items():
            if not item.get("description"):
                missing.append(f"{path}.{key}")
        for key, item in node.items():
            missing += described(item, f"{path}.{key}")
    return missing


def test_every_key_of_the_schema_says_what_it_is_for() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert described(schema) == []
    assert len(schema["$defs"]) >= 9


def test_reference_and_command_line_list_every_key() -> None:
    schema = json_schema()
    page, lines = reference_text(), "\n".join(key_lines())
    for name, table in schema["$defs"].items():
        for key, item in table.get("properties", {}).items():
            assert f"| `{key}` |" in page, (name, key)
            assert item["description"].replace("|", "\\|") in page, (name, key)
            assert f"  {key}" in lines, (name, key)
    for key in schema["properties"]:
        assert f"[{key}" in page, key
        assert f"[{key}" in lines, key
    assert "| `timeout` | duration | `3600` |" in page
    assert "| `log-limit` | size |" in page
    assert '| `fallback-risks` | list of `low`, `medium`, `high` | `["low", "medium"]` |' in page


def test_what_other_tools_left_broken_stops_no_detection(tmp_path: Path) -> None:
    (tmp_path / "Cargo.toml").write_text("", encoding="utf-8")
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / "nextest.toml").write_text('profile = "ci"', encoding="utf-8")
    (tmp_path / "package.json").write_text(
        '{"dependencies": "x", "devDependencies": {"vitest": 1}}', encoding="utf-8"
    )
    (tmp_path / "pyproject.toml").write_text(f"a = {'9' * 5000}", encoding="utf-8")
    assert [suite.name for suite in detected_suites(tmp_path)] == ["rust", "js"]


def test_an_event_that_is_none_is_refused_and_those_of_payloads_are_known(tmp_path: Path) -> None:
    text = '[suites.a]\ntests = ["t"]\n[suites.a.when]\nevents = ["push", "pul_request"]\n'
    (told,) = problems(tmp_path, text)
    assert 'suites.a.when.events: there is no event "pul_request" (did you mean "pull_request"?)' in told
    assert tuple(READERS) == EVENTS
