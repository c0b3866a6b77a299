"""The nouns: frozen values that flow from an event to a record, and nothing that acts on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Lane(StrEnum):
    """Who may spend money: A same repository, B fork reviewed at the exact head, C plain fork."""

    SAME_REPOSITORY = "A"
    FORK_REVIEWED = "B"
    FORK = "C"


class Risk(StrEnum):
    """How much can go wrong in a suite; `[project] fallback-risks` says at which levels the shell runner may take over."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Runner(StrEnum):
    """Which program runs a suite on the leased machine."""

    PYTHON = "python"
    SHELL = "shell"


class Outcome(StrEnum):
    """What became of one test; missing means expected and never ran, or never finished."""

    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"
    SKIPPED = "skipped"
    MISSING = "missing"


class Verdict(StrEnum):
    """The one word on top; only `passed` is green."""

    PASSED = "passed"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    EMPTY = "empty"


class Level(StrEnum):
    """How loud a finding is."""

    NOTICE = "notice"
    WARNING = "warning"
    ERROR = "error"


class LeaseState(StrEnum):
    """Where a machine is in its life; `gone` is the only end."""

    REQUESTED = "requested"
    READY = "ready"
    STOPPED = "stopped"
    PREEMPTED = "preempted"
    RELEASING = "releasing"
    GONE = "gone"


class AttemptState(StrEnum):
    """How one try to run a suite ended; everything but `finished` is the machine's or the runner's tale."""

    RUNNING = "running"
    FINISHED = "finished"  # the runner ended by itself, whatever its exit code
    TIMED_OUT = "timed-out"
    SETUP_FAILED = "setup-failed"
    RUNNER_FAILED = "runner-failed"  # the runner broke, not a test
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    KILLED = "killed"  # ended by a signal that was not ours


class ChangeKind(StrEnum):
    """What a commit did to a file."""

    ADDED = "added"
    MODIFIED = "modified"
    REMOVED = "removed"
    RENAMED = "renamed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFile:
    """One entry of a diff; a rename counts as both of its paths."""

    path: str
    kind: ChangeKind = ChangeKind.MODIFIED
    previous_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustDecision:
    """Whether an event may lease machines: a code of ci_runner/github/trust.py, why, and what to do if it may not."""

    allowed: bool
    lane: Lane
    code: str
    reason: str
    fix: str = ""
    commit: str | None = None  # of a reviewed fork: the one commit that was approved, and so may run


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened, on GitHub or on the command line (`kind` is then "local").

    `changed_files` is None when they cannot be known; the reason is in `changed_files_note`.
    """

    kind: str
    action: str | None = None
    repository: str | None = None
    branch: str | None = None
    tag: str | None = None  # of a push of a tag; `branch` is then None
    base_branch: str | None = None
    commit: str | None = None
    base_commit: str | None = None
    pull_request: int | None = None
    draft: bool = False
    labels: tuple[str, ...] = ()
    label_added: str | None = None
    label_removed: str | None = None
    actor: str | None = None
    team: str | None = None
    lane: Lane = Lane.SAME_REPOSITORY
    trust: TrustDecision | None = None  # None: nobody was asked, and the lane alone counts
    schedule: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    changed_files: tuple[ChangedFile, ...] | None = None
    changed_files_complete: bool = True  # False: there may be more of them; the note says why
    changed_files_note: str | None = None
    default_branch: str | None = None


class LabelMode(StrEnum):
    """When a label acts: only in the event that adds it, or as long as the pull request carries it."""

    ADDED = "added"
    PRESENT = "present"


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """The rules that select a suite; an empty `When` is selected by name, `--all` or the local command line.

    Rules of different kinds are alternatives for `labels` and `inputs`, and conditions for the rest:
    a suite is due if its event matches, its branches match and its paths match; or if one of its labels acts.
    """

    events: tuple[str, ...] = ()
    schedule: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    path_groups: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    label_mode: LabelMode = LabelMode.ADDED
    skip_labels: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    drafts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a suite takes of a machine while it runs; suites run side by side only if their needs fit."""

    cpus: float = 1.0
    memory_mb: int | None = None
    exclusive: tuple[str, ...] = ()  # names of things only one suite may hold: "accelerator", "port-8080"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A named test configuration, after `extends` and matrix axes have been resolved."""

    name: str
    title: str
    tests: tuple[str, ...] = ()
    command: str | None = None
    junit: tuple[str, ...] = ()
    machine: str = "local"
    tier: str | None = None  # cpu | accelerator | on-demand
    risk: Risk = Risk.LOW
    phase: str = "1"
    timeout_seconds: float = 3600.0
    retries: int = 0
    setup: tuple[str, ...] = ()
    setup_timeout_seconds: float = 600.0
    pytest_args: tuple[str, ...] = ()
    workers: str | None = None  # pytest-xdist: "auto" or a number
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()  # names of variables of the runner whose values the suite gets
    caches: tuple[str, ...] = ()  # names of folders that leased machines get from the store of caches
    when: When = field(default_factory=When)
    needs: Needs | None = None  # None: takes the whole machine for itself
    shards: int = 1
    exclusive: str | None = None  # at most one suite of one plan may claim this name
    allow_empty: bool = False
    coverage: bool = False  # measured with coverage.py where the tests run
    coverage_files: tuple[str, ...] = ()  # globs of Cobertura's XML or lcov's text that the suite writes
    coverage_minimum: float | None = None  # percent of all lines
    coverage_minimum_changed: float | None = None  # percent of the lines that a change touches
    base: str | None = None  # the configured suite that this one is a matrix variant of
    axes: Mapping[str, str] = field(default_factory=dict)
    configuration: str | None = None  # the file that --config named; None: found where it usually is


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    """A machine as the configuration describes it, before anything is leased."""

    name: str
    provider: str = "local"
    type: str | None = None
    zones: tuple[str, ...] = ()
    spot: str = "never"
    max_minutes: float | None = None
    max_price_per_hour: float | None = None
    max_price_per_run: float | None = None
    python: str | None = None
    cpus: float | None = None
    memory_mb: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One part of a suite: number `index` of `total`, counted from 1, with the tests it holds (None: decided there)."""

    index: int
    total: int
    tests: tuple[str, ...] | None = None
    expected_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagDecision:
    """Which runner an attempt uses, and why: a value that goes into the record."""

    flag: str
    variant: Runner
    reason: str  # a code: kill-switch, input, opt-in, opt-out, rollout, phase, default, unparsable, override
    text: str = ""
    bucket: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A suite that will run, or one shard of it, with the reason."""

    suite: Suite
    reason: str
    rule: str  # the configuration path of the rule that decided, or "command line"
    evidence: str | None = None  # the file, label, input or cron that matched
    shard: Shard | None = None
    runner: FlagDecision | None = None

    @property
    def id(self) -> str:
        """A readable name that is unique in its plan: `unit` or `unit-2of4`."""
        if self.shard is None or self.shard.total == 1:
            return self.suite.name
        return f"{self.suite.name}-{self.shard.index}of{self.shard.total}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A suite that will not run, with the reason."""

    suite: str
    reason: str
    code: str = ""  # one of the codes in ci_runner/plan/rules.py
    rule: str | None = None
    evidence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will run and what will not; a pure function of event and settings."""

    event: Event
    selected: tuple[Selection, ...] = ()
    skipped: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = ()
    nothing_due: bool = False  # the selection is empty and the configuration says that this is right


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferAttempt:
    """One try to get a machine: where, of what type, from when to when, and why it failed if it did."""

    zone: str | None = None
    type: str | None = None
    spot: bool = False
    price_per_hour: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    failure: str | None = None  # a kind of providers/failures.py; None: this try brought the machine
    text: str = ""  # what the provider said, one line of foreign text
    code: str | None = None  # the provider's own word for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A machine borrowed until a time; `id` is fixed and recorded before anything is created."""

    id: str
    machine: MachineSpec
    owner: str
    run_id: str
    suite: str
    created_at: float  # seconds since the epoch, UTC
    expires_at: float
    state: LeaseState = LeaseState.REQUESTED
    address: str | None = None  # of the first worker
    host_key: str | None = None
    addresses: tuple[str, ...] = ()  # of all workers, if there are several
    host_keys: tuple[str, ...] = ()
    user: str | None = None  # who logs in there
    image: str | None = None  # what the machine was made of
    zone: str | None = None
    spot: bool = False
    price_per_hour: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what a reader of the report must know, such as "with uncommitted changes"
    tries: tuple[OfferAttempt, ...] = ()  # every try to get this machine, the one that brought it last


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an attempt took of its machine, its child processes included."""

    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to run one suite (or shard) on one lease; `folder` and `log` are relative to the run folder."""

    id: str
    selection: str  # Selection.id
    suite: str
    number: int
    runner: Runner
    lease_id: str
    folder: str
    log: str
    state: AttemptState = AttemptState.RUNNING
    started_at: float = 0.0
    ended_at: float | None = None
    exit_code: int | None = None  # negative: ended by that signal
    reason: str | None = None  # a sentence, when state is not `finished`
    kind: str = "suite"  # suite | retry | resume | fallback
    usage: Usage = field(default_factory=Usage)

    @property
    def duration_seconds(self) -> float:
        """Wall time, 0 while it runs."""
        return max(0.0, self.ended_at - self.started_at) if self.ended_at is not None else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One test's outcome in one attempt (or, once judged, in the run: `attempt` is then the deciding one).

    `id` is pytest's node id where there is one, else `classname::name`. `message` is one line of foreign text.
    """

    id: str
    outcome: Outcome
    suite: str = ""
    name: str = ""
    classname: str = ""
    duration_seconds: float = 0.0
    file: str | None = None
    line: int | None = None
    message: str | None = None
    details: str | None = None
    output: str | None = None
    worker: str | None = None
    attempt: str | None = None
    flaky: bool = False  # it failed and passed on the same commit
    quarantined: bool = False
    interrupted: bool = False  # missing because it was running when the attempt ended
    expected_failure: bool = False  # xfail: skipped by decision of the test's author
    earlier: tuple[CaseResult, ...] = ()  # outcomes of earlier tries, oldest first
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong with the results themselves: what, where, and in words."""

    kind: str  # a code, such as truncated, encoding, not-junit, lying-attribute, exit-code, empty, missing-tests
    text: str
    file: str | None = None
    line: int | None = None
    fatal: bool = True  # False: worth telling, not red


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The numbers of a set of cases, each of which counts in one field; `tests` is all of them, missing included."""

    tests: int = 0
    passed: int = 0
    failed: int = 0
    errored: int = 0
    skipped: int = 0
    flaky: int = 0
    missing: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something worth telling, with its evidence."""

    level: Level
    subject: str
    text: str
    code: str = ""
    evidence: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """What one selection came to, over all of its attempts."""

    selection: Selection
    verdict: Verdict
    counts: Counts
    attempts: tuple[Attempt, ...] = ()
    leases: tuple[Lease, ...] = ()
    cases: tuple[CaseResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    findings: tuple[Finding, ...] = ()
    fallback_reason: str | None = None  # "code: sentence" when the shell runner took over
    metrics: Mapping[str, float] = field(default_factory=dict)
    stacks: str | None = None  # what every thread was doing when the time was up
    exit_code: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A whole run: everything that report, history and exit code are made from."""

    run_id: str
    plan: Plan
    suites: tuple[SuiteResult, ...]
    verdict: Verdict
    counts: Counts
    started_at: float
    ended_at: float
    developer: str
    exit_code: int = 0
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    cost_usd: float = 0.0
    coverage: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # of each suite that measured

    @property
    def duration_seconds(self) -> float:
        """Wall time of the run."""
        return max(0.0, self.ended_at - self.started_at)
