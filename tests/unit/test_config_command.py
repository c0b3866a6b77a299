"""`ci-runner config`: every value with its origin, the schema, and one line for each key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ci_runner.cli.main import main
from ci_runner.config.reference import key_lines
from ci_runner.config.schema import json_schema

TEAM = """\
[project]
name = "shown"

[suites.unit]
tests = ["tests"]
timeout = "1m"

[flags.new]
percentage = nan

[[quarantine]]
test = "a"
owner = "ann"
expires = 2027-01-31
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a file, and no home."""
    (tmp_path / "ci-runner.toml").write_text(TEAM, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[list[str], list[str]]:
    assert main(["config", *words]) == code
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err.splitlines()


def test_every_value_is_shown_with_its_origin(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI_RUNNER_RETRY_LIMIT", "7")
    lines, errors = shown(capsys, "show")
    assert errors == []
    assert lines[:2] == [f"# root {folder}", f"# read {folder / 'ci-runner.toml'}"]
    origins = {line.partition(" = ")[0]: line.partition("  # ")[2] for line in lines[2:]}
    values = {line.partition(" = ")[0]: line.partition(" = ")[2].partition("  ")[0] for line in lines[2:]}
    assert origins["project.name"] == f"{folder / 'ci-runner.toml'}:2"
    assert origins["project.retry-limit"] == "CI_RUNNER_RETRY_LIMIT"
    assert origins["project.resume-limit"] == "default"
    assert origins["quarantine.0.owner"] == f"{folder / 'ci-runner.toml'}:13"
    assert values["suites.unit.tests"] == '["tests"]'
    assert values["quarantine.0.expires"] == '"2027-01-31"'
    assert values["project.phase"] == "null"


def test_json_is_one_object_that_any_reader_understands(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, _errors = shown(capsys, "show", "--format", "json")

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    found = json.loads("\n".join(lines), parse_constant=refuse)
    assert sorted(found) == ["files", "root", "values"]
    assert found["files"] == [str(folder / "ci-runner.toml")]
    assert found["values"]["suites.unit.timeout"] == {
        "value": "1m",
        "origin": "file",
        "name": str(folder / "ci-runner.toml"),
        "line": 6,
    }
    assert found["values"]["project.phase"] == {
        "value": None,
        "origin": "default",
        "name": None,
        "line": None,
    }
    assert found["values"]["flags.new.percentage"]["value"] == "nan"


def test_a_prefix_is_a_whole_part_of_the_path(capsys: pytest.CaptureFixture[str]) -> None:
    lines, _errors = shown(capsys, "show", "suites.unit", "kpi")
    assert [line.partition(" = ")[0] for line in lines[2:]] == [
        "kpi.shadow-runs",
        "suites.unit.tests",
        "suites.unit.timeout",
    ]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["suites.unti"], '"suites.unti" (did you mean "suites.unit"?)'),
        (["suites.unit", "flag"], '"flag" (did you mean "flags"?)'),
        (["suites.uni"], '"suites.uni" (did you mean "suites.unit"?)'),
        (["xyzzy"], '"xyzzy"'),
    ],
)
def test_a_key_that_nothing_has_is_an_error(
    words: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, errors = shown(capsys, "show", *words, code=2)
    assert lines == []
    assert errors[0] == f"ci-runner: error: nothing is configured under {what}"
    assert errors[1].startswith("fix: ")


def test_a_configuration_can_be_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = folder / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    (folder / "named.toml").write_text('[project]\nname = "named"\n', encoding="utf-8")
    lines, _errors = shown(capsys, "show", "--config", "../named.toml", "project.name")
    assert 'project.name = "named"' in lines[2]
    _lines, errors = shown(capsys, "show", "--config", "nothing.toml", code=2)
    assert errors[0] == "ci-runner: error: there is no such configuration (nothing.toml)"


def test_problems_are_shown_one_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "ci-runner.toml").write_text(
        '"::stop-commands::x" = 1\nproject.phase = "9"\n', encoding="utf-8"
    )
    lines, errors = shown(capsys, "show", code=2)
    assert lines == []
    assert len(errors) == 4
    assert not any(line.lstrip().startswith("::") for line in errors)


def test_without_a_file_there_are_defaults(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "ci-runner.toml").unlink()
    lines, _errors = shown(capsys, "show")
    assert lines[1] == "# read no file"
    assert all(line.endswith("# default") for line in lines[2:])


def test_the_schema_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    lines, _errors = shown(capsys, "schema")
    assert json.loads("\n".join(lines)) == json_schema()


def test_keys_are_printed_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    lines, _errors = shown(capsys, "schema", "--keys")
    assert lines == list(key_lines())
    assert "[suites.NAME]" in lines
    assert "  timeout = 3600  (duration)  How long the tests may take." in lines


def test_an_action_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["config"])
    assert caught.value.code == 2
    assert "ACTION" in capsys.readouterr().err
