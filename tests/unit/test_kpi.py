"""The figures of the python runner, and the flags, issues and overrides that follow from them."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ci_runner.checks.kpi import Feedback, Kpi, Target, measure, render, status_of
from ci_runner.checks.kpi_alerts import DEFAULT_ALERTS, Decisions, decide
from ci_runner.checks.stats import Interval
from ci_runner.cli import kpi as command
from ci_runner.cli import main as cli
from ci_runner.config.settings import Alert, FlagSpec, Settings
from ci_runner.history.feedback import load_feedback
from ci_runner.history.overrides import load_flags, put_override
from ci_runner.history.query import parse_record
from ci_runner.history.record import Record
from ci_runner.history.store import FolderStore, MemoryStore
from ci_runner.model import MachineSpec, Problem, Suite
from ci_runner.plan.flags import DEFAULT_FLAG, Override, Overrides

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
UNIT = Suite(name="unit", title="Unit")


def settings(**more: Any) -> Settings:
    return Settings(root=Path("/"), suites={"unit": UNIT}, **more)


def attempt(
    runner: str, state: str = "finished", kind: str = "suite", seconds: float = 10.0
) -> dict[str, Any]:
    return {"runner": runner, "state": state, "kind": kind, "duration_seconds": seconds}


def record(number: int = 0, **more: Any) -> Record:
    values: dict[str, Any] = {
        "run_id": f"20261123-120000-{number:04x}",
        "test_suite": "unit",
        "timestamp": f"{NOW - timedelta(minutes=number):%Y-%m-%dT%H:%M:%SZ}",
        "platform": "local",
        "duration_seconds": 10.0,
        "runner": "python",
        "results": {"passed": 9, "failed": 1},
        "flag": {"flag": DEFAULT_FLAG, "variant": "python", "reason": "default"},
    }
    return Record(**{**values, **more})


def fallback(number: int = 0, **more: Any) -> Record:
    values: dict[str, Any] = {
        "runner": "shell",
        "fallback_reason": "plugin-error: <b>boom</b> | [x](y)",
        "attempt_details": (attempt("python", "runner-failed"), attempt("shell", kind="fallback")),
    }
    return record(number, **{**values, **more})


def by_name(kpis: Sequence[Kpi]) -> Mapping[str, Kpi]:
    return {kpi.name: kpi for kpi in kpis}


def figures(records: Sequence[Record], **more: Any) -> Mapping[str, Kpi]:
    return by_name(measure(records, settings(**more)))


def estimate(kpi: Kpi) -> float:
    assert kpi.interval is not None
    return kpi.interval.estimate


def test_without_runs_nothing_is_claimed() -> None:
    kpis = figures([])
    assert [kpis[name].status for name in ("success-rate", "fallback-rate", "error-rate")] == ["unclear"] * 3
    assert [kpis[name].runs_needed for name in ("success-rate", "fallback-rate", "error-rate")] == [
        598,
        149,
        2995,
    ]
    assert "too few runs (needs 2,995)" in render(list(kpis.values()))
    assert "nan" not in render(list(kpis.values()))


@pytest.mark.parametrize(
    ("more", "success", "fell_back", "erred", "counted"),
    [
        ({}, 1, 0, 0, 1),
        ({"exit_code": 1}, 1, 0, 0, 1),
        ({"exit_code": 9}, 0, 0, 0, 1),
        ({"exit_code": 130}, 0, 0, 0, 0),
        ({"exit_code": 3}, 0, 0, 0, 0),
        ({"exit_code": 8}, 0, 0, 0, 0),
        ({"exit_code": 8, "attempt_details": (attempt("python", "runner-failed"),)}, 0, 0, 1, 1),
        ({"exit_code": 9, "attempt_details": (attempt("python", "runner-failed"),)}, 0, 0, 1, 1),
        ({"runner": "shell", "fallback_reason": "runner-crashed: x"}, 0, 1, 0, 1),
        ({"runner": "shell", "fallback_reason": "runner-crashed: x", "exit_code": 1}, 0, 1, 0, 1),
        ({"runner": "shell", "fallback_reason": "runner-crashed: x", "exit_code": 9}, 0, 1, 1, 1),
        ({"runner": "shell"}, 0, 0, 0, 0),
        (
            {"runner": "shell", "attempt_details": (attempt("python", kind="collect"), attempt("shell"))},
            0,
            0,
            0,
            0,
        ),
    ],
)
def test_what_a_run_says_of_the_runner(
    more: dict[str, Any], success: int, fell_back: int, erred: int, counted: int
) -> None:
    kpis = figures([record(**more)])
    for name, expected in (("success-rate", success), ("fallback-rate", fell_back), ("error-rate", erred)):
        assert kpis[name].n == counted
        assert kpis[name].text == f"{expected if counted else 0} of {counted}"


def test_failing_tests_are_counted_apart_from_the_runner() -> None:
    kpis = figures([record(number, exit_code=1) for number in range(600)])
    assert kpis["success-rate"].status == "met"
    assert kpis["tests-passed"].text == "5,400 of 6,000 tests"
    assert kpis["tests-passed"].status == "shown"


@pytest.mark.parametrize(
    ("good", "bad", "status"), [(149, 0, "met"), (148, 0, "unclear"), (50, 10, "missed"), (40, 1, "unclear")]
)
def test_the_fallback_target_is_met_or_missed_only_with_certainty(good: int, bad: int, status: str) -> None:
    records = [record(number) for number in range(good)] + [fallback(number) for number in range(bad)]
    kpi = figures(records)["fallback-rate"]
    assert (kpi.status, kpi.n) == (status, good + bad)
    assert (kpi.runs_needed is None) == (status != "unclear")


@pytest.mark.parametrize(
    ("interval", "target", "status"),
    [
        (Interval(1.0, 0.95, 1.05, 9), Target(within=0.1), "met"),
        (Interval(1.2, 1.15, 1.25, 9), Target(within=0.1), "missed"),
        (Interval(0.5, 0.4, 0.6, 9), Target(within=0.1), "missed"),
        (Interval(1.0, 0.8, 1.2, 9), Target(within=0.1), "unclear"),
        (Interval(0.999, 0.996, 1.0, 9), Target(above=0.995), "met"),
        (Interval(0.9, 0.8, 0.99, 9), Target(above=0.995), "missed"),
        (None, Target(within=0.1), "unclear"),
    ],
)
def test_a_target_is_compared_with_both_bounds(
    interval: Interval | None, target: Target, status: str
) -> None:
    assert status_of(interval, target) == status


def two_arms(ratio: float, count: int, **more: Any) -> list[Record]:
    source = random.Random(5)
    found = []
    for number in range(count):
        for runner, factor in (("python", ratio), ("shell", 1.0)):
            seconds = 10 * factor * source.lognormvariate(0, 0.03)
            found.append(
                record(
                    number,
                    runner=runner,
                    duration_seconds=seconds,
                    peak_memory_bytes=int(1e7 * seconds),
                    **more,
                )
            )
    return found


def test_time_and_memory_are_compared_with_the_shell_suite_by_suite() -> None:
    fast = two_arms(1.0, 20)
    slow = [
        dataclasses.replace(item, test_suite="big", duration_seconds=100 * item.duration_seconds)
        for item in fast
    ]
    mixed = [*fast, *[item for item in slow if item.runner == "python"]]  # the shell never ran the big one
    kpis = figures(mixed)
    assert (kpis["time-ratio"].status, kpis["memory-ratio"].status) == ("met", "met")
    assert kpis["time-ratio"].text == "1 suite with runs by both"
    assert estimate(figures(two_arms(1.3, 20))["time-ratio"]) == pytest.approx(1.3, rel=0.05)
    assert figures(two_arms(1.3, 20))["time-ratio"].status == "missed"


def test_red_runs_and_runs_that_fell_back_do_not_count_for_time() -> None:
    red = [dataclasses.replace(item, exit_code=1) for item in two_arms(9.0, 5)]
    kpis = figures(
        [*two_arms(1.0, 20), *red, *[fallback(number, duration_seconds=999.0) for number in range(5)]]
    )
    assert kpis["time-ratio"].status == "met"
    assert "ci-runner ab SUITE" in figures(red)["time-ratio"].text


def test_time_is_the_suites_own_without_retries() -> None:
    details = (
        attempt("python", kind="collect", seconds=5),
        attempt("python", seconds=10),
        attempt("python", kind="retry", seconds=80),
    )
    records = [
        dataclasses.replace(item, attempt_details=details) if item.runner == "python" else item
        for item in two_arms(1.0, 20)
    ]
    assert estimate(figures(records)["time-ratio"]) == pytest.approx(1.0, rel=0.05)


def test_utilisation_is_cores_and_memory_and_the_part_of_the_machine() -> None:
    machine = MachineSpec(name="local", cpus=4.0, memory_mb=1000)
    records = [record(number, cpu_seconds=20.0, peak_memory_bytes=250_000_000) for number in range(5)]
    kpis = figures(records, machines={"local": machine})
    assert (estimate(kpis["cpu-python"]), estimate(kpis["memory-python"])) == (2.0, 250.0)
    assert kpis["cpu-python"].text == "50% of the machine (5 runs)"
    assert kpis["memory-python"].text == "25% of the machine (5 runs)"
    assert kpis["cpu-shell"].interval is None
    assert figures(records)["cpu-python"].text == ""


def test_adoption_counts_configurations_by_their_latest_run_and_leaves_forced_runs_out() -> None:
    suites = {name: Suite(name=name, title="") for name in ("unit", "docs", "never")}
    records = [
        record(1),
        record(2, runner="shell"),
        record(3, test_suite="docs", runner="shell"),
        record(4, test_suite="docs"),
        record(5, test_suite="gone"),
        record(0, test_suite="docs", flag={"flag": "", "reason": "command-line"}),
    ]
    kpis = by_name(measure(records, Settings(root=Path("/"), suites=suites)))
    assert kpis["suites-on-python"].text == "1 of 3 by their latest run, 1 without a run"
    assert kpis["runs-on-python"].text == "3 of 5 runs"


def test_thumbs_are_counted() -> None:
    kpis = by_name(
        measure([], settings(), [Feedback(comment="1", up=3, down=1), Feedback(comment="2", up=0, down=0)])
    )
    assert kpis["thumbs-up"].text == "3 of 4 thumbs on 2 comments"
    assert estimate(kpis["thumbs-up"]) == 0.75


def test_the_table_says_too_near_where_more_runs_do_not_help() -> None:
    near = Interval(0.02, 0.01, 0.03, 50)
    kpi = Kpi(
        name="x", title="x", unit="rate", interval=near, n=50, target="", status="unclear", runs_needed=50
    )
    assert "too near the target to tell" in render([kpi])


# --- what follows ----------------------------------------------------------------------------------------------------


def decided(records: Sequence[Record], overrides: Overrides | None = None, **more: Any) -> Decisions:
    cleared = more.pop("cleared", None)
    return decide(records, settings(**more), overrides or Overrides(), cleared)


def good_and_bad(good: int, bad: int) -> list[Record]:
    return [record(number) for number in range(good)] + [fallback(number) for number in range(bad)]


def test_a_breach_that_is_certain_turns_the_flag_off_and_opens_one_issue() -> None:
    found = decided(good_and_bad(50, 10))
    (off,) = found.turn_off
    assert off.flag == DEFAULT_FLAG
    assert "fallback-rate is 16.7% over 60 runs (at least 9.3%), over the limit of 5.0%" in off.reason
    assert off.evidence["reasons"] == {"plugin-error": 10}
    assert len(off.evidence["latest"]) == 10  # type: ignore[arg-type]
    (issue,) = found.issues
    assert issue.key == f"ci-runner-kpi:{DEFAULT_FLAG}"
    assert issue.body.startswith(f"<!-- {issue.key} -->")
    assert "| `plugin-error` | 10 |" in issue.body
    assert f"ci-runner kpi --clear {DEFAULT_FLAG}" in issue.body
    assert "boom" not in issue.body


@pytest.mark.parametrize(("good", "bad", "breaches"), [(10, 1, 1), (100, 3, 0), (0, 0, 0), (40, 3, 1)])
def test_a_breach_that_may_be_chance_is_told_and_nothing_is_turned_off(
    good: int, bad: int, breaches: int
) -> None:
    found = decided(good_and_bad(good, bad))
    assert len(found.breaches) == breaches
    assert not any(breach.certain for breach in found.breaches)
    assert (found.turn_off, found.issues) == ((), ())


def test_alerts_are_configuration() -> None:
    alerts = (
        Alert(name="low <b>success</b> --> @all", metric="success-rate", below=0.995, action="issue"),
        Alert(name="told", metric="fallback-rate", above=0.01, action="report"),
        Alert(name="no figure", metric="weather", above=0.0, action="disable-flag"),
    )
    found = decided(good_and_bad(50, 10), alerts=alerts)
    assert [breach.alert.name for breach in found.breaches] == [alerts[0].name, "told"]
    assert found.turn_off == ()
    (issue,) = found.issues
    assert "success-rate is 83.3% over 60 runs (at most" in issue.body
    assert "nothing has been switched" in issue.body
    assert not re.search(r"-->.*-->|<b>|@", issue.body, re.DOTALL)


def test_slow_is_an_issue_and_not_a_switch() -> None:
    found = decided(two_arms(1.5, 20))
    assert [breach.alert for breach in found.breaches] == [DEFAULT_ALERTS[1]]
    assert found.turn_off == ()
    assert len(found.issues) == 1


def test_a_flag_is_judged_by_its_own_suites() -> None:
    suites = {name: Suite(name=name, title="") for name in ("unit", "docs")}
    flags = {"docs-flag": FlagSpec(name="docs-flag", suites=("docs",)), "rest": FlagSpec(name="rest")}
    records = [record(number, test_suite="docs") for number in range(60)] + good_and_bad(0, 10)
    found = decide(records, Settings(root=Path("/"), suites=suites, flags=flags), Overrides())
    assert [off.flag for off in found.turn_off] == ["rest"]
    gone = [
        dataclasses.replace(item, test_suite="gone", flag={"flag": "old"}) for item in good_and_bad(0, 10)
    ]
    assert [off.flag for off in decided(gone).turn_off] == ["old"]


def test_once_the_shell_is_retired_there_is_nothing_to_turn_off() -> None:
    found = decided(good_and_bad(50, 10), phase="4")
    assert found.turn_off == ()
    assert len(found.issues) == 1


def off_since(minutes: int) -> Overrides:
    at = f"{NOW - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"
    return Overrides(active={DEFAULT_FLAG: Override(flag=DEFAULT_FLAG, reason="bad", at=at, by="kpi")})


def test_enough_clean_shadow_runs_turn_the_flag_on_again() -> None:
    before = [fallback(number) for number in range(100, 130)]
    clean = [record(number) for number in range(20)]
    (on,) = decided([*before, *clean], off_since(60)).turn_on
    assert (on.flag, on.shadow_runs) == (DEFAULT_FLAG, 20)
    assert decided([*before, *clean[:19]], off_since(60)) == Decisions()
    assert decided([*before, *clean], off_since(60), shadow_runs=21) == Decisions()


def test_a_shadow_run_that_is_not_clean_starts_the_count_again() -> None:
    runs = (
        [record(number) for number in range(10)]
        + [fallback(10)]
        + [record(number) for number in range(11, 25)]
    )
    assert decided(runs, off_since(60)) == Decisions()
    assert decided(runs, off_since(60), shadow_runs=10).turn_on[0].shadow_runs == 10


def test_after_a_flag_was_cleared_older_runs_do_not_turn_it_off_again() -> None:
    bad = good_and_bad(0, 30)
    assert decided(bad).turn_off
    assert decided(bad, cleared={DEFAULT_FLAG: f"{NOW:%Y-%m-%dT%H:%M:%SZ}"}) == Decisions()


# --- overrides and feedback in the store -----------------------------------------------------------------------------


def test_the_latest_override_of_a_flag_is_in_force() -> None:
    store = MemoryStore()
    key = put_override(store, "new/flag", "off", reason="bad", by="kpi", now=NOW, evidence={"runs": 60})
    assert re.fullmatch(r"flags/new%2Fflag/override-20261123T120000\.000000Z-[0-9a-f]{8}\.json", key)
    found = load_flags(store)
    assert found.overrides.active["new/flag"] == Override(
        flag="new/flag", reason="bad", at="2026-11-23T12:00:00Z", by="kpi"
    )
    assert json.loads(store.get(key))["evidence"] == {"runs": 60}
    put_override(store, "new/flag", "on", reason="fine", by="ada", now=NOW + timedelta(hours=1))
    found = load_flags(store)
    assert (found.overrides.active, found.cleared) == ({}, {"new/flag": "2026-11-23T13:00:00Z"})
    put_override(store, "new/flag", "off", reason="again", by="kpi", now=NOW + timedelta(hours=2))
    assert load_flags(store).overrides.active["new/flag"].reason == "again"


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xff", b'{"schema": 2, "flag": "f", "action": "off", "at": "2026-11-23T12:00:00Z"}',
     b'{"schema": 1, "flag": "f", "action": "maybe", "at": "2026-11-23T12:00:00Z"}',
     b'{"schema": 1, "flag": "f", "action": "off", "at": "soon", "reason": "", "by": ""}', b"[" * 100_000],
)  # fmt: skip
def test_an_override_that_cannot_be_read_keeps_the_flag_off_until_it_is_lifted(data: bytes) -> None:
    store = MemoryStore()
    store.put_new("flags/f/override-20261123T120000.000000Z-0000.json", data)
    store.put_new("flags/f/notes.txt", b"nothing")
    found = load_flags(store).overrides.active["f"]
    assert found.problem is not None
    assert found.at == "2026-11-23T12:00:00Z"
    put_override(store, "f", "on", reason="looked at", by="ada", now=NOW + timedelta(seconds=1))
    assert load_flags(store).overrides.active == {}


def test_an_override_with_a_name_of_its_own_is_still_off() -> None:
    store = MemoryStore()
    store.put_new("flags/f/override-mine.json", b"?")
    assert load_flags(store).overrides.active["f"].at == ""


class Broken(MemoryStore):
    """A store behind a cable that is not plugged in."""

    def list(self, prefix: str = "") -> Any:
        raise ConnectionRefusedError(111, "Connection refused")


class Forgetful(MemoryStore):
    """A store whose objects go away between listing and reading."""

    def get(self, key: str) -> bytes:
        raise KeyError(key)


def test_a_store_that_cannot_be_asked_is_unreachable_and_one_that_forgets_is_empty() -> None:
    assert load_flags(Broken()).overrides.unreachable == "Connection refused"
    store = Forgetful()
    store.put_new("flags/f/override-20261123T120000.000000Z-0000.json", b"{}")
    assert load_flags(store).overrides == Overrides()


def test_feedback_counts_each_comment_as_it_was_counted_last() -> None:
    store = MemoryStore()
    for key, value in {
        "a": {"comment": "1", "at": "2026-11-23T10:00:00Z", "up": 1, "down": 0},
        "b": {"comment": "1", "at": "2026-11-23T11:00:00Z", "up": 4, "down": 2},
        "c": {"comment": "2", "at": "2026-11-23T09:00:00Z", "up": 1, "down": 0},
        "d": {"comment": "3", "at": "2026-11-23T09:00:00Z", "up": -1, "down": 0},
        "e": {"comment": "4", "at": "2026-11-23T09:00:00Z", "up": True, "down": 0},
        "f": ["no object"],
    }.items():
        store.put_new(f"feedback/{key}.json", json.dumps(value).encode())
    store.put_new("feedback/readme.txt", b"")
    problems: list[Problem] = []
    found = load_feedback(store, problems)
    assert found == [Feedback(comment="1", up=4, down=2), Feedback(comment="2", up=1, down=0)]
    assert [problem.file for problem in problems] == ["feedback/d.json", "feedback/e.json", "feedback/f.json"]


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    monkeypatch.setattr(command, "settings_for", lambda _arguments: settings(developer="ada"))
    return FolderStore(tmp_path)


def keep(store: FolderStore, records: Sequence[Record]) -> None:
    now = datetime.now(UTC)
    moment = f"{now - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    for number, item in enumerate(records):
        run_id = f"{now:%Y%m%d-%H%M%S}-{number:04x}"
        kept = dataclasses.replace(item, run_id=run_id, timestamp=moment)
        data = json.dumps(dataclasses.asdict(kept)).encode()
        assert parse_record(data).run_id == run_id
        store.put_new(f"daily/{now:%Y-%m-%d}/local-unit-none-{run_id}.json", data)


def call(store: FolderStore, *words: str) -> int:
    return cli.main(["kpi", "--store", str(store.root), *words])


def test_the_command_prints_figures_and_is_green_without_a_breach(
    store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(store, [record() for _ in range(3)])
    assert call(store) == 0
    out = capsys.readouterr().out
    assert "python runner, 3 runs since" in out
    assert "too few runs (needs 149); 0 of 3" in out


def test_the_command_turns_a_flag_off_once_and_a_person_turns_it_on(
    store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(store, good_and_bad(30, 10))
    assert call(store) == 1
    assert "(not done: ask with --apply)" in capsys.readouterr().out
    assert load_flags(store).overrides.active == {}
    assert call(store, "--apply", "--format", "json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["kpis"]["fallback-rate"]["text"] == "10 of 40"
    assert len(found["written"]) == 1
    assert DEFAULT_FLAG in load_flags(store).overrides.active
    assert call(store, "--apply", "--format", "json") == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["written"], [item["flag"] for item in again["flags_off"]]) == ([], [DEFAULT_FLAG])
    assert call(store, "--clear", DEFAULT_FLAG) == 0
    assert "turned on" in capsys.readouterr().out
    assert load_flags(store).overrides.active == {}
    assert call(store, "--apply") == 0


def test_the_command_turns_a_flag_on_after_clean_shadow_runs(
    store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    put_override(
        store, DEFAULT_FLAG, "off", reason="bad", by="kpi", now=datetime.now(UTC) - timedelta(hours=1)
    )
    keep(store, [record(flag={"flag": "", "reason": "command-line"}) for _ in range(20)])
    assert call(store, "--apply") == 0
    assert "turn on  python-test-runner: 20 clean shadow runs in a row" in capsys.readouterr().out
    assert load_flags(store).overrides.active == {}


def test_to_clear_what_is_not_off_is_an_error_that_says_what_is(
    store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    put_override(store, "other", "off", reason="bad", by="kpi", now=NOW)
    assert call(store, "--clear", "nothing") == 2
    assert "fix: flags that are off: other" in capsys.readouterr().err


def test_json_has_no_number_that_json_has_not(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(store, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["kpis"]["success-rate"]["interval"]["estimate"] is None
    assert found["runs"] == 0


def test_a_broken_record_is_told_and_a_broken_store_is_an_error(
    store: FolderStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_new("daily/2099-01-01/local-unit-none-20990101-000000-0000.json", b"{")
    assert call(store) == 0
    assert "ci-runner: warning: daily/2099-01-01/" in capsys.readouterr().err
    monkeypatch.setattr(command, "store_for", lambda _arguments, _settings: Broken())
    assert call(store) == 9
    assert "Connection refused" in capsys.readouterr().err
    assert call(store, "--clear", "x") == 9
