"""Which runner a suite gets: one flag, one decision with its reason, the same for every job of a pull request. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ci_runner.config.settings import FlagSpec, Settings
from ci_runner.model import Event, FlagDecision, Lane, Plan, Runner, Suite

DEFAULT_FLAG = "python-test-runner"
INPUT = "use-python-test-runner"
PHASES = ("1", "2A", "2B", "2C", "3", "4")
DEFAULT_FOR_ALL = "3"  # from here on the python runner is the default of every suite
RETIRED = "4"  # from here on there is no shell runner to choose
WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
FNV_OFFSET, FNV_PRIME, MASK = 0x811C9DC5, 0x01000193, 0xFFFFFFFF
HASH_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A flag turned off from outside of the configuration; `problem` says what of it could not be read."""

    flag: str
    reason: str
    at: str = ""
    by: str = ""
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """The overrides in force by flag, or why they could not be asked for."""

    active: Mapping[str, Override] = field(default_factory=dict)
    unreachable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """All that a decision depends on."""

    suite: Suite
    flag: FlagSpec
    rivals: tuple[FlagSpec, ...]  # flags that claim the suite as much as `flag` does
    phase: str | None
    default: Runner
    event: Event
    override: Override | None
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A rule's decision: the runner, the code of the reason, a sentence."""

    variant: Runner
    reason: str
    text: str
    bucket: float | None = None


def decide_runner(
    suite: Suite,
    settings: Settings,
    event: Event,
    *,
    overrides: Overrides | None = None,
    action_input: str | None = None,
) -> FlagDecision:
    """The runner of a suite by the first rule that speaks, in the order of RULES.

    `action_input` is what the workflow passed as `use-python-test-runner`, as written; None or "" if it did not.
    """
    known = overrides or Overrides()
    flags = flags_of(suite, settings)
    flag = flags[0] if flags else FlagSpec(name=DEFAULT_FLAG)
    note = ""
    if known.unreachable is not None:
        note = f"; overrides could not be read ({known.unreachable}), so the committed configuration decides"
    question = Question(
        suite=suite,
        flag=flag,
        rivals=tuple(flags[1:]),
        phase=settings.phase,
        default=settings.default_runner,
        event=event,
        override=known.active.get(flag.name),
        inputs=_inputs(action_input, event),
    )
    answer = next(answer for rule in RULES if (answer := rule(question)) is not None)
    return FlagDecision(
        flag=flag.name,
        variant=answer.variant,
        reason=answer.reason,
        text=answer.text + note,
        bucket=answer.bucket,
    )


def apply_flags(
    plan: Plan, settings: Settings, *, overrides: Overrides | None = None, action_input: str | None = None
) -> Plan:
    """The plan with every selection's runner decided; all shards of a suite get the same one."""
    selected = tuple(
        dataclasses.replace(
            selection,
            runner=decide_runner(
                selection.suite, settings, plan.event, overrides=overrides, action_input=action_input
            ),
        )
        for selection in plan.selected
    )
    notes = plan.notes
    if overrides is not None and overrides.unreachable is not None and selected:
        notes = (
            *notes,
            f"flag overrides could not be read ({overrides.unreachable}): the committed configuration decides",
        )
    return dataclasses.replace(plan, selected=selected, notes=notes)


def flags_of(suite: Suite, settings: Settings) -> list[FlagSpec]:
    """The flags that govern a suite: those that name it, else those that name its base, else those for all."""
    flags = list(settings.flags.values())
    for names in ({suite.name}, {suite.base} if suite.base else set()):
        named = [flag for flag in flags if names & set(flag.suites)]
        if named:
            return named
    return [flag for flag in flags if not flag.suites]


def unit_of(event: Event) -> str | None:
    """What keeps its runner: the pull request, else the branch; None if the event has neither."""
    if event.pull_request is not None:
        return f"pull-request-{event.pull_request}"
    return f"branch-{event.branch}" if event.branch else None


def bucket_of(seed: str, value: str, version: int = HASH_VERSION) -> float | None:
    """GrowthBook's deterministic hash of a value into [0, 1); None for a version that does not exist.

    Source: "Hashing" in docs.growthbook.io/lib/build-your-own (FNV-1a, 32 bits, over UTF-8).
    """
    if version == 1:
        return fnv1a(value + seed) % 1000 / 1000
    if version == HASH_VERSION:
        return fnv1a(str(fnv1a(seed + value))) % 10000 / 10000
    return None


def fnv1a(text: str) -> int:
    """The 32-bit FNV-1a hash of a text."""
    state = FNV_OFFSET
    for byte in text.encode("utf-8", "surrogatepass"):
        state = (state ^ byte) * FNV_PRIME & MASK
    return state


def parse_switch(text: str) -> bool | None:
    """What a workflow's input says; None if it is neither true nor false."""
    return WORDS.get(text.strip().lower())


def _inputs(action_input: str | None, event: Event) -> tuple[str, ...]:
    """Everything that was passed under the input's name, by the action and by the dispatch, without repeats."""
    given = [action_input or "", event.inputs.get(INPUT, "")]
    return tuple(dict.fromkeys(text for text in given if text.strip()))


def _retired(question: Question) -> Answer | None:
    if question.phase != RETIRED:
        return None
    return Answer(Runner.PYTHON, "phase", "phase 4: the shell runner is retired, nothing can choose it")


def _unparsable(question: Question) -> Answer | None:
    problems = list(question.flag.problems)
    if question.rivals:
        names = ", ".join(f"[flags.{flag.name}]" for flag in (question.flag, *question.rivals))
        problems.append(f"{names} all govern this suite: name it under one of them")
    problems += _problems_of_rules(question.flag)
    percentage = question.flag.percentage
    if percentage is not None and not (math.isfinite(percentage) and 0 <= percentage <= 100):
        problems.append(f"percentage {percentage!r} is not between 0 and 100")
    if question.phase is not None and question.phase not in PHASES:
        problems.append(f"[project] phase {question.phase!r} is none of {', '.join(PHASES)}")
    if question.phase is not None and question.suite.phase not in PHASES:
        problems.append(f"phase {question.suite.phase!r} of the suite is none of {', '.join(PHASES)}")
    if not problems:
        return None
    return Answer(Runner.SHELL, "unparsable", f"off, because it cannot be understood: {'; '.join(problems)}")


def _kill_switch(question: Question) -> Answer | None:
    if question.flag.enabled:
        return None
    return Answer(Runner.SHELL, "kill-switch", f"[flags.{question.flag.name}] enabled = false")


def _overridden(question: Question) -> Answer | None:
    override = question.override
    if override is None:
        return None
    if override.problem is not None:
        return Answer(
            Runner.SHELL, "override", f"off, because an override cannot be understood: {override.problem}"
        )
    since = f" since {override.at}" if override.at else ""
    by = f" by {override.by}" if override.by else ""
    return Answer(Runner.SHELL, "override", f"turned off{since}{by}: {override.reason}")


def _opted_out(question: Question) -> Answer | None:
    match = _match(question.flag.opt_out, question)
    return None if match is None else Answer(Runner.SHELL, "opt-out", f"opt-out of {match}")


def _opted_in(question: Question) -> Answer | None:
    match = _match(question.flag.opt_in, question)
    return None if match is None else Answer(Runner.PYTHON, "opt-in", f"opt-in of {match}")


def _by_input(question: Question) -> Answer | None:
    if not question.inputs:
        return None
    said = {text: parse_switch(text) for text in question.inputs}
    strange = [text for text, switch in said.items() if switch is None]
    if strange:
        return Answer(
            Runner.SHELL, "unparsable", f"off, because {INPUT} is {strange[0]!r}: write true or false"
        )
    if len(set(said.values())) > 1:
        return Answer(
            Runner.SHELL, "unparsable", f"off, because {INPUT} is both true and false (action and dispatch)"
        )
    switch = next(iter(said.values()))
    return Answer(
        Runner.PYTHON if switch else Runner.SHELL, "input", f"{INPUT}: {question.inputs[0].strip()}"
    )


def _by_percentage(question: Question) -> Answer | None:
    percentage = question.flag.percentage
    if percentage is None:
        return None
    unit = unit_of(question.event)
    if unit is None:
        return Answer(
            Runner.PYTHON if percentage == 100 else Runner.SHELL,
            "rollout",
            f"{percentage:g} %, and no pull request or branch to assign by",
        )
    bucket = bucket_of(f"{question.flag.name}:{question.flag.salt}:", unit)
    assert bucket is not None
    inside = bucket < percentage / 100
    return Answer(
        Runner.PYTHON if inside else Runner.SHELL,
        "rollout",
        f"{unit} is at {bucket * 100:.2f} %, {'inside' if inside else 'outside'} of {percentage:g} %",
        bucket,
    )


def _by_phase(question: Question) -> Answer | None:
    now, own = question.phase, question.suite.phase
    if now is None:
        return None
    if now == DEFAULT_FOR_ALL:
        return Answer(Runner.PYTHON, "phase", "phase 3: the python runner is the default of every suite")
    if PHASES.index(own) <= PHASES.index(now):
        return Answer(Runner.PYTHON, "phase", f"phase {now} has reached this suite's phase {own}")
    return Answer(Runner.SHELL, "phase", f"phase {now} has not reached this suite's phase {own}")


def _default(question: Question) -> Answer:
    return Answer(question.default, "default", "no flag, input or phase says otherwise")


Rule = Callable[[Question], "Answer | None"]
# The first rule that speaks decides. What stops the python runner stands before what starts it.
RULES: tuple[Rule, ...] = (
    _retired,
    _unparsable,
    _kill_switch,
    _overridden,
    _opted_out,
    _opted_in,
    _by_input,
    _by_percentage,
    _by_phase,
    _default,
)


def _same(pattern: str, value: str) -> bool:
    return pattern.casefold() == value.casefold()  # GitHub's logins, labels and teams ignore case


def _same_team(pattern: str, value: str) -> bool:
    """`kernels` matches the team of that name in any organisation, `org/kernels` only that one."""
    return _same(pattern, value) or ("/" not in pattern and _same(pattern, value.rpartition("/")[2]))


def _match(rules: Mapping[str, tuple[str, ...]], question: Question) -> str | None:
    """The first rule that fits this event or suite, in words."""
    event, suite = question.event, question.suite
    # A fork names its branches itself, so they say nothing about what its author may choose here.
    branch = event.branch if event.lane is Lane.SAME_REPOSITORY else None
    labels = [*event.labels, *([event.label_added] if event.label_added else [])]
    sources: dict[str, tuple[str, list[str], Callable[[str, str], bool]]] = {
        "users": ("user", [event.actor] if event.actor else [], _same),
        "labels": ("label", labels, _same),
        "branches": (
            "branch",
            [branch] if branch else [],
            lambda pattern, value: fnmatchcase(value, pattern),
        ),
        "teams": ("team", [event.team] if event.team else [], _same_team),
        "suites": ("suite", [suite.name, *([suite.base] if suite.base else [])], str.__eq__),
    }
    for kind, (word, values, fits) in sources.items():
        for pattern in rules.get(kind, ()):
            if any(fits(pattern, value) for value in values):
                return f"{word} {pattern!r}"
    return None


KINDS = ("users", "labels", "branches", "teams", "suites")


def _problems_of_rules(flag: FlagSpec) -> list[str]:
    return [
        f"{name} names {kind!r}, which is none of {', '.join(KINDS)}"
        for name, rules in (("opt-in", flag.opt_in), ("opt-out", flag.opt_out))
        for kind in rules
        if kind not in KINDS
    ]
