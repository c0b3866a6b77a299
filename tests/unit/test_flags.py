"""Which runner a suite gets: the table of precedence, the hash, and what cannot be understood."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.config.settings import FlagSpec, Settings
from ci_runner.model import Event, FlagDecision, Lane, Plan, Runner, Selection, Shard, Suite
from ci_runner.plan.flags import (
    DEFAULT_FLAG,
    INPUT,
    PHASES,
    Override,
    Overrides,
    apply_flags,
    bucket_of,
    decide_runner,
    flags_of,
    parse_switch,
)

DATA = Path(__file__).parents[1] / "data" / "selection" / "growthbook_hash.json"
HASHES = json.loads(DATA.read_text())["cases"]
PYTHON, SHELL = Runner.PYTHON, Runner.SHELL
SUITE = Suite(name="docs_test", title="DocsTestSuite", phase="2A")
EVENT = Event(
    kind="pull_request", pull_request=7, branch="feature", actor="Ada", labels=("Perf",), team="org/kernels"
)
OFF = Overrides(active={"new": Override(flag="new", reason="fallback rate 9 %", at="2026-11-20", by="kpi")})
ALL_ON: dict[str, Any] = {"percentage": 100.0, "opt_in": {"users": ("ada",)}}


def settings(flag: FlagSpec | None = None, phase: str | None = None, **more: Any) -> Settings:
    flags = {flag.name: flag} if flag else {}
    return Settings(root=Path("/"), flags=flags, phase=phase, **more)


def decide(
    flag: FlagSpec | None = None,
    *,
    phase: str | None = None,
    event: Event = EVENT,
    overrides: Overrides | None = None,
    action_input: str | None = None,
    suite: Suite = SUITE,
) -> FlagDecision:
    return decide_runner(suite, settings(flag, phase), event, overrides=overrides, action_input=action_input)


@pytest.mark.parametrize(("seed", "value", "version", "bucket"), HASHES)
def test_the_hash_is_growthbooks(seed: str, value: str, version: int, bucket: float | None) -> None:
    assert bucket_of(seed, value, version) == bucket


# Each row turns one more rule on, from the last to the first; the row's rule must win over all rows above it.
LADDER: list[tuple[str, dict[str, Any], Runner, str]] = [
    ("nothing", {}, PYTHON, "default"),
    ("phase", {"phase": "1"}, SHELL, "phase"),
    ("percentage", {"flag": {"percentage": 100.0}}, PYTHON, "rollout"),
    ("input", {"action_input": "false"}, SHELL, "input"),
    ("opt-in", {"flag": {"opt_in": {"users": ("ada",)}}}, PYTHON, "opt-in"),
    ("opt-out", {"flag": {"opt_out": {"labels": ("perf",)}}}, SHELL, "opt-out"),
    ("override", {"overrides": OFF}, SHELL, "override"),
    ("kill switch", {"flag": {"enabled": False}}, SHELL, "kill-switch"),
    ("unparsable", {"flag": {"problems": ('percentage "arc" is no number',)}}, SHELL, "unparsable"),
    ("retired", {"phase": "4"}, PYTHON, "phase"),
]


@pytest.mark.parametrize("depth", range(1, len(LADDER) + 1), ids=[row[0] for row in LADDER])
def test_the_first_rule_that_speaks_decides(depth: int) -> None:
    flag: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    for _name, change, _variant, _reason in LADDER[:depth]:
        flag |= change.get("flag", {})
        arguments |= {key: value for key, value in change.items() if key != "flag"}
    decision = decide(FlagSpec(name="new", **flag), **arguments)
    assert (decision.variant, decision.reason, decision.flag) == (*LADDER[depth - 1][2:], "new")
    assert decision.text


@pytest.mark.parametrize(
    ("now", "own", "variant"),
    [
        *[("1", own, PYTHON if own == "1" else SHELL) for own in PHASES],
        *[("2A", own, PYTHON if own in ("1", "2A") else SHELL) for own in PHASES],
        *[("2B", own, PYTHON if own in ("1", "2A", "2B") else SHELL) for own in PHASES],
        *[("2C", own, PYTHON if own in ("1", "2A", "2B", "2C") else SHELL) for own in PHASES],
        *[(now, own, PYTHON) for now in ("3", "4") for own in PHASES],
    ],
)
def test_a_phase_admits_the_suites_up_to_its_own(now: str, own: str, variant: Runner) -> None:
    decision = decide(phase=now, suite=dataclasses.replace(SUITE, phase=own))
    assert (decision.variant, decision.reason) == (variant, "phase")
    assert f"phase {now}" in decision.text


def test_without_any_flag_the_default_runner_decides() -> None:
    decision = decide()
    assert (decision.flag, decision.variant, decision.reason) == (DEFAULT_FLAG, PYTHON, "default")
    shell = decide_runner(SUITE, settings(default_runner=SHELL), EVENT)
    assert (shell.variant, shell.reason) == (SHELL, "default")


@pytest.mark.parametrize(
    ("rules", "event", "matches"),
    [
        ({"users": ("ADA",)}, EVENT, True),
        ({"users": ("bob",)}, EVENT, False),
        ({"labels": ("PERF",)}, EVENT, True),
        ({"labels": ("new",)}, dataclasses.replace(EVENT, labels=(), label_added="New"), True),
        ({"branches": ("feat*",)}, EVENT, True),
        ({"branches": ("Feat*",)}, EVENT, False),
        ({"branches": ("feat*",)}, dataclasses.replace(EVENT, lane=Lane.FORK), False),
        ({"branches": ("feat*",)}, dataclasses.replace(EVENT, lane=Lane.FORK_REVIEWED), False),
        ({"teams": ("kernels",)}, EVENT, True),
        ({"teams": ("Org/Kernels",)}, EVENT, True),
        ({"teams": ("other/kernels",)}, EVENT, False),
        ({"suites": ("docs_test",)}, EVENT, True),
        ({"suites": ("docs",)}, EVENT, False),
        ({"users": ("x",), "labels": ("y",), "teams": ("kernels",)}, EVENT, True),
        ({"users": ("",), "branches": ("",), "teams": ("",)}, Event(kind="local"), False),
    ],
)
def test_opt_in_and_opt_out_match_people_labels_branches_teams_and_suites(
    rules: dict[str, tuple[str, ...]], event: Event, matches: bool
) -> None:
    opted_in = decide(FlagSpec(name="new", opt_in=rules), event=event, phase="1")
    assert (opted_in.variant, opted_in.reason) == ((PYTHON, "opt-in") if matches else (SHELL, "phase"))
    opted_out = decide(FlagSpec(name="new", opt_out=rules, percentage=100), event=event)
    assert (opted_out.variant, opted_out.reason) == ((SHELL, "opt-out") if matches else (PYTHON, "rollout"))


def test_a_variant_of_a_suite_is_opted_in_with_its_base() -> None:
    suite = dataclasses.replace(SUITE, name="docs_test-py312", base="docs_test")
    assert (
        decide(FlagSpec(name="new", opt_in={"suites": ("docs_test",)}), suite=suite, phase="1").reason
        == "opt-in"
    )


@pytest.mark.parametrize(
    ("text", "switch"),
    [("true", True), (" TRUE ", True), ("on", True), ("1", True), ("yes", True), ("false", False), ("Off", False),
     ("no", False), ("0", False), ("arc", None), ("tru", None), ("2", None), ("::error::", None)],
)  # fmt: skip
def test_the_actions_input_is_true_or_false_and_anything_else_is_off(text: str, switch: bool | None) -> None:
    assert parse_switch(text) is switch
    decision = decide(phase="3", action_input=text)
    expected = (SHELL, "unparsable") if switch is None else (PYTHON if switch else SHELL, "input")
    assert (decision.variant, decision.reason) == expected


def test_an_input_that_was_not_given_says_nothing() -> None:
    assert decide(action_input="").reason == decide(action_input="  ").reason == "default"


def test_the_dispatchs_input_counts_and_a_contradiction_is_off() -> None:
    event = dataclasses.replace(EVENT, inputs={INPUT: "false"})
    assert (decide(event=event).variant, decide(event=event).reason) == (SHELL, "input")
    assert decide(event=event, action_input="no").reason == "input"
    both = decide(event=event, action_input="true")
    assert (both.variant, both.reason) == (SHELL, "unparsable")
    assert "both true and false" in both.text


@pytest.mark.parametrize(
    "flag",
    [
        {"percentage": 101.0},
        {"percentage": -1.0},
        {"percentage": float("nan")},
        {"percentage": float("inf")},
        {"opt_in": {"people": ("ada",)}},
        {"opt_out": {"user": ("ada",)}},
        {"problems": ("anything",)},
    ],
)
def test_what_cannot_be_understood_is_off_and_says_so(flag: dict[str, Any]) -> None:
    decision = decide(FlagSpec(name="new", **{**ALL_ON, **flag}))
    assert (decision.variant, decision.reason) == (SHELL, "unparsable")
    assert "cannot be understood" in decision.text


@pytest.mark.parametrize(("now", "own"), [("5Z", "1"), ("2A", "arc")])
def test_an_unknown_phase_is_off_and_named(now: str, own: str) -> None:
    decision = decide(phase=now, suite=dataclasses.replace(SUITE, phase=own))
    assert (decision.variant, decision.reason) == (SHELL, "unparsable")
    assert ("5Z" if now == "5Z" else "arc") in decision.text


def test_an_override_that_cannot_be_read_is_off() -> None:
    overrides = Overrides(active={"new": Override(flag="new", reason="", problem="no JSON")})
    decision = decide(FlagSpec(name="new", **ALL_ON), overrides=overrides)
    assert (decision.variant, decision.reason) == (SHELL, "override")
    assert "no JSON" in decision.text


def test_an_override_of_another_flag_says_nothing_and_one_of_the_default_flag_works() -> None:
    assert decide(FlagSpec(name="other"), overrides=OFF).variant is PYTHON
    off = Overrides(active={DEFAULT_FLAG: Override(flag=DEFAULT_FLAG, reason="bad")})
    assert (decide(overrides=off).variant, decide(overrides=off).reason) == (SHELL, "override")


def test_an_unreachable_store_leaves_the_committed_configuration_and_says_so() -> None:
    away = Overrides(unreachable="connection refused")
    decision = decide(FlagSpec(name="new", percentage=100), overrides=away)
    assert (decision.variant, decision.reason) == (PYTHON, "rollout")
    assert "connection refused" in decision.text
    plan = Plan(event=EVENT, selected=(Selection(suite=SUITE, reason="r", rule="x"),))
    assert "connection refused" in apply_flags(plan, settings(), overrides=away).notes[0]
    assert apply_flags(Plan(event=EVENT), settings(), overrides=away).notes == ()


def test_the_flag_that_names_a_suite_governs_it() -> None:
    everyone = FlagSpec(name="everyone", percentage=100)
    own = FlagSpec(name="own", enabled=False, suites=("docs_test",))
    both = Settings(root=Path("/"), flags={"everyone": everyone, "own": own})
    assert decide_runner(SUITE, both, EVENT).flag == "own"
    variant = dataclasses.replace(SUITE, name="docs_test-x", base="docs_test")
    assert flags_of(variant, both) == [own]
    assert flags_of(Suite(name="other", title=""), both) == [everyone]


def test_two_flags_with_the_same_claim_are_off() -> None:
    flags = {name: FlagSpec(name=name, percentage=100) for name in ("one", "two")}
    decision = decide_runner(SUITE, Settings(root=Path("/"), flags=flags), EVENT)
    assert (decision.variant, decision.reason) == (SHELL, "unparsable")
    assert "[flags.one], [flags.two]" in decision.text


@given(st.integers(1, 10**6), st.floats(0, 100), st.floats(0, 100), st.text(max_size=5))
def test_assignment_sticks_and_a_larger_percentage_takes_nobody_out(
    number: int, one: float, two: float, salt: str
) -> None:
    small, large = sorted((one, two))
    event = Event(kind="pull_request", pull_request=number)
    first = decide(FlagSpec(name="new", percentage=small, salt=salt), event=event)
    rerun = dataclasses.replace(
        event, branch="other", actor="eve", labels=("x",), commit="f" * 40, kind="merge_group"
    )
    assert decide(FlagSpec(name="new", percentage=small, salt=salt), event=rerun) == first
    if first.variant is PYTHON:
        assert decide(FlagSpec(name="new", percentage=large, salt=salt), event=event).variant is PYTHON


def test_the_share_is_the_percentage_and_flags_and_salts_are_independent() -> None:
    def chosen(name: str, salt: str) -> list[Runner]:
        flag = FlagSpec(name=name, percentage=30, salt=salt)
        return [
            decide(flag, event=Event(kind="pull_request", pull_request=number)).variant
            for number in range(4000)
        ]

    one, two, three = chosen("a", ""), chosen("a", "s"), chosen("b", "")
    for other in (one, two, three):
        assert 0.27 < Counter(other)[PYTHON] / 4000 < 0.33
    for other in (two, three):
        both = sum(x is y is PYTHON for x, y in zip(one, other, strict=True))
        assert 0.06 < both / 4000 < 0.12  # 9 % if independent


@pytest.mark.parametrize(("percentage", "variant"), [(0.0, SHELL), (100.0, PYTHON)])
def test_nobody_and_everybody(percentage: float, variant: Runner) -> None:
    for number in range(200):
        event = Event(kind="push", branch=f"b{number}")
        decision = decide(FlagSpec(name="new", percentage=percentage), event=event)
        assert (decision.variant, decision.reason) == (variant, "rollout")
        assert decision.bucket is not None


@pytest.mark.parametrize(("percentage", "variant"), [(99.0, SHELL), (100.0, PYTHON)])
def test_without_pull_request_and_branch_only_everybody_is_in(percentage: float, variant: Runner) -> None:
    decision = decide(FlagSpec(name="new", percentage=percentage), event=Event(kind="local"))
    assert (decision.variant, decision.bucket) == (variant, None)


def test_a_boundary_is_outside() -> None:
    number = next(n for n in range(10**5) if bucket_of("new::", f"pull-request-{n}") == 0.29)
    event = Event(kind="pull_request", pull_request=number)
    assert decide(FlagSpec(name="new", percentage=29), event=event).variant is SHELL
    assert decide(FlagSpec(name="new", percentage=29.01), event=event).variant is PYTHON


def test_all_shards_of_a_suite_get_the_same_runner() -> None:
    flag = FlagSpec(name="new", percentage=50)
    shards = [Selection(suite=SUITE, reason="r", rule="x", shard=Shard(index=i, total=3)) for i in (1, 2, 3)]
    plan = apply_flags(Plan(event=EVENT, selected=tuple(shards)), settings(flag))
    decisions = {selection.runner for selection in plan.selected}
    assert len(decisions) == 1
    assert decisions.pop() is not None
    assert [selection.shard for selection in plan.selected] == [selection.shard for selection in shards]
