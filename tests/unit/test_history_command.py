"""`ci-runner history list` and `show`."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ci_runner.cli import history
from ci_runner.errors import ConfigurationError, ResultsError, UsageError
from ci_runner.history.store import FolderStore
from ci_runner.report.files import publish_records
from tests import report_samples as samples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with one run of four suites."""
    publish_records(samples.everything(), FolderStore(tmp_path))
    return tmp_path


def command(*words: str) -> int:
    """Run the command as main does."""
    parser = ArgumentParser()
    history.add_arguments(parser)
    return history.run(parser.parse_args(words))


def test_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("list", "--store", str(folder), "--suite", "tpu") == 0
    assert capsys.readouterr().out.splitlines() == [
        "2026-11-23 16:17  20261123-161502-7f3c  tpu-2of2  gcp  passed  4 min 10 s  $0.05  90 passed",
        "2026-11-23 16:15  20261123-161502-7f3c  tpu-1of2  gcp  passed  5 min 39 s  $0.06  90 passed",
    ]


def test_list_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "daily").mkdir()
    (folder / "daily" / "broken.json").write_text("{")
    assert command("list", "--store", str(folder), "--format", "json", "--limit", "9") == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["records"]) == 4
    assert told["records"][0]["key"].startswith("pr/pr-123/")
    assert told["problems"][0]["file"] == "daily/broken.json"


def test_an_empty_store_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("list", "--store", str(tmp_path)) == 0
    assert capsys.readouterr().out == "no records yet\n"
    assert command("list", "--store", str(tmp_path), "--suite", "x") == 0
    assert capsys.readouterr().out == "no records of this suite and time\n"


def test_a_store_that_cannot_be_read_is_an_error_with_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise PermissionError(13, "Permission denied", "daily")

    monkeypatch.setattr(FolderStore, "list", refuse)
    with pytest.raises(ResultsError, match="cannot be read: Permission denied") as caught:
        command("list", "--store", str(tmp_path))
    assert caught.value.where == "daily"
    assert "[stores] history" in str(caught.value.fix)


@pytest.mark.parametrize("action", ["list", "show x"])
def test_the_store_may_be_a_url(action: str, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="ftp"):
        command(*action.split(), "--store", "ftp://x")
    assert command("list", "--store", f"file://{folder}") == 0


def test_a_reader_that_goes_away_is_no_fault_of_the_history(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_args: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", gone)
    with pytest.raises(BrokenPipeError):
        command("list", "--store", str(folder))


def test_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("show", "20261123-161502-7f3c", "--store", str(folder)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pr/pr-123/gcp-tpu-1of2-3f2a9c1b7d5e-20261123-161502-7f3c.json"
    assert "  test_suite         tpu" in lines
    assert any(
        line.startswith("  attempt            number 1, kind suite, runner python, state preempted")
        for line in lines
    )
    assert command("show", lines[0], "--store", str(folder), "--format", "json") == 0
    assert len(json.loads(capsys.readouterr().out)["records"]) == 1


def test_a_run_that_is_not_there_names_near_ones(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        command("show", "20261123-161502-7f3d", "--store", str(folder))
    assert caught.value.fix == "perhaps you meant: 20261123-161502-7f3c"
    with pytest.raises(UsageError) as caught:
        command("show", "x", "--store", str(folder))
    assert str(caught.value.fix).startswith("the newest is 20261123-161502-7f3c")
    with pytest.raises(UsageError) as caught:
        command("show", "x", "--store", str(tmp_path / "none"))
    assert str(caught.value.fix).startswith("the store is empty")


def test_a_broken_record_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "daily").mkdir()
    (tmp_path / "daily" / "a-20261123-161502-7f3c.json").write_text("::error::no")
    assert command("show", "20261123-161502-7f3c", "--store", str(tmp_path)) == 9
    assert "not a record: no JSON" in capsys.readouterr().err
    assert command("show", "20261123-161502-7f3c", "--store", str(tmp_path), "--format", "json") == 9


def test_hostile_records_are_printed_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish_records(samples.hostile(), FolderStore(tmp_path))
    assert command("list", "--store", str(tmp_path)) == 0
    assert command("show", samples.hostile().run_id, "--store", str(tmp_path)) == 0
    for line in capsys.readouterr().out.splitlines():
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


def test_since() -> None:
    assert history.since("2026-11-23") == datetime(2026, 11, 23, tzinfo=UTC)
    assert history.since("2026-11-23T01:00:00+01:00") == datetime(2026, 11, 23, tzinfo=UTC)
    assert abs(history.since("7d") - (datetime.now(UTC) - timedelta(days=7))) < timedelta(minutes=1)
    for text in ("", "d", "7y", "soon", "999999999999w"):
        with pytest.raises(ArgumentTypeError):
            history.since(text)
    assert history.positive("3") == 3
    for text in ("0", "-1", "x", "²"):
        with pytest.raises(ArgumentTypeError):
            history.positive(text)
