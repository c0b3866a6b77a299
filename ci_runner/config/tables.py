"""The tables of ci-runner.toml: names, types, defaults and one sentence on each key. Schema and reference come from here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ci_runner.config.notify import Branches, Events, Kind, Limit, Passes, Spans, Variable, Zone
from ci_runner.config.values import (
    Amount,
    CacheKey,
    Count,
    Crons,
    Day,
    Duration,
    Environment,
    Filled,
    Folder,
    Matrix,
    Number,
    Paths,
    Percent,
    Positive,
    PositiveNumber,
    Retries,
    Risks,
    Shards,
    Size,
    Strings,
    Tests,
    Truth,
    Workers,
)
from ci_runner.model import LabelMode, Risk, Runner

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
Phase = Literal["1", "2A", "2B", "2C", "3", "4"]


class Table(BaseModel):
    """What all tables have in common: keys with dashes, and no others than these."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=False,
        use_attribute_docstrings=False,
        defer_build=True,  # a table that is part of another needs no validator of its own
    )


class ProjectTable(Table):
    """The project as a whole."""

    name: str = Field("", description="The project's name in reports; the folder's name if it is left out.")
    default_branch: Filled = Field("main", description="The branch that pull requests are compared with.")
    default_runner: Runner = Field(
        Runner.PYTHON, description="The runner of suites that no flag and no phase decides about."
    )
    phase: Phase | None = Field(
        None, description="How far the rollout of the python runner has come; none: there is no rollout."
    )
    fallback_risks: Risks = Field(
        (Risk.LOW, Risk.MEDIUM), description="Suites of these risks may fall back to the shell runner."
    )
    retry_limit: Count = Field(
        20, description="With more failing tests than this nothing is retried: that is no flakiness."
    )
    resume_limit: Count = Field(
        3, description="New machines that a suite may get after its own was taken away."
    )
    ignored_paths: Paths = Field((), description="Changes that select nothing by themselves.")
    nothing_due: Literal["green", "red"] = Field(
        "green", description="Whether a run in which the rules select nothing is green."
    )
    log_limit: Size = Field(
        "256MB", description="How much of a suite's output is kept; the middle of more is left out."
    )
    developer: str = Field("", description="Who runs this, for the records; a key for personal files.")
    team: str | None = Field(
        None, description="The team whose flags and budgets count; a key for personal files."
    )


class MachineTable(Table):
    """A machine that suites run on."""

    provider: Literal["local", "ssh", "gcp-tpu", "aws-ec2"] = Field(
        "local", description="Who lends the machine."
    )
    type: str | None = Field(None, description="The type in the provider's words: `v6e-1`, `g5.xlarge`.")
    zones: Strings = Field((), description="Zones that are tried, in this order.")
    spot: Literal["never", "prefer", "only"] = Field(
        "never", description="Whether the machine may be one that can be taken away."
    )
    max_minutes: PositiveNumber | None = Field(None, description="The longest lease.")
    max_price_per_hour: Amount | None = Field(None, description="No machine that costs more, in dollars.")
    max_price_per_run: Amount | None = Field(
        None, description="No lease that would cost more if it lasted to its expiry, in dollars."
    )
    python: Filled | None = Field(
        None, description="The interpreter of the tests; relative paths start at the configuration."
    )
    cpus: PositiveNumber | None = Field(
        None, description="How many CPUs suites may share there; all of them if left out."
    )
    memory_mb: Positive | None = Field(None, description="How much memory suites may share there.")
    options: dict[str, str] = Field({}, description="What else the provider wants to know.")


class WhenTable(Table):
    """The rules that select a suite."""

    events: Strings = Field(
        (), description="GitHub's events: push, pull_request, merge_group, workflow_dispatch, …"
    )
    schedule: Crons = Field((), description="Cron expressions; as in the workflow that has them.")
    branches: Strings = Field(
        (), description="Globs over the branch (of a pull request: its base), with ! to leave out."
    )
    paths: Strings = Field((), description="Globs over changed paths, with ! to leave out.")
    path_groups: Strings = Field((), description="Names of [path-groups] to add to the paths.")
    labels: Strings = Field(
        (), description="Labels of a pull request that select the suite whatever else says."
    )
    label_mode: LabelMode = Field(
        LabelMode.ADDED, description="Whether a label acts only when it is added, or on every later push too."
    )
    skip_labels: Strings = Field((), description="Labels that keep the suite out.")
    inputs: dict[str, str] = Field(
        {}, description="Inputs of workflow_dispatch and their values that select the suite."
    )
    drafts: Truth = Field(True, description="Whether it runs for draft pull requests.")


class NeedsTable(Table):
    """What a suite takes of this machine; with it, suites run side by side. Leased machines are each for one suite."""

    cpus: PositiveNumber = Field(1.0, description="CPUs.")
    memory_mb: Positive | None = Field(None, description="Memory.")
    exclusive: Strings = Field((), description="Things that only one suite may hold: accelerator, port-8080.")


class SuiteTable(Table):
    """A named test configuration."""

    extends: Filled | None = Field(None, description="The suite whose keys this one starts from.")
    abstract: Truth = Field(False, description="Only there to be extended; never runs.")
    title: str | None = Field(None, description="The name in reports; the suite's own if left out.")
    tests: Tests = Field((), description="pytest paths, node ids, or dotted unittest names.")
    tests_add: Tests = Field((), description="Tests to add to those of the suite that this one extends.")
    command: Filled | None = Field(None, description="A command that writes JUnit, instead of tests.")
    junit: Paths = Field((), description="Globs of the JUnit files that the command writes.")
    machine: Filled = Field("local", description="The machine, by its name in [machines].")
    tier: Literal["cpu", "accelerator", "on-demand"] | None = Field(
        None, description="cpu: every pull request; accelerator: nightly; on-demand: by label."
    )
    risk: Risk = Field(
        Risk.LOW, description="Whether the shell runner may take over: see project.fallback-risks."
    )
    phase: Phase = Field(
        "1", description="The phase of the rollout in which the suite moves to the python runner."
    )
    timeout: Duration = Field(3600.0, description="How long the tests may take.")
    retries: Retries = Field(0, description="How often a failing test is run again, alone.")
    setup: Strings = Field((), description="Commands to run before the tests.")
    setup_timeout: Duration = Field(600.0, description="How long each setup command may take.")
    pytest_args: Strings = Field((), description="Arguments for pytest.")
    workers: Workers | None = Field(None, description="Processes of pytest-xdist: auto or a number.")
    env: Environment = Field({}, description="Environment variables.")
    secrets: Strings = Field(
        (),
        description="Variables of the runner whose values the suite gets too: sent apart, and hidden in all that is kept.",
    )
    caches: Strings = Field(
        (),
        description="Folders that a leased machine gets from the store of caches, by their names in [caches].",
    )
    when: WhenTable = Field(WhenTable(), description="What selects the suite.")
    needs: NeedsTable | None = Field(None, description="What it takes of the machine; left out: all of it.")
    shards: Shards = Field(1, description="Parts to split the tests into.")
    exclusive: Filled | None = Field(None, description="At most one suite of a plan may claim this name.")
    allow_empty: Truth = Field(False, description="Whether no test at all is green.")
    coverage: Truth = Field(
        False, description="Measure with coverage.py which lines run; the suite's python has to have it."
    )
    coverage_files: Paths = Field(
        (), description="Globs of the coverage that the suite writes itself: Cobertura's XML, lcov's text."
    )
    coverage_minimum: Percent | None = Field(
        None, description="Red if fewer of 100 lines are covered, over all shards and machines."
    )
    coverage_minimum_changed: Percent | None = Field(
        None, description="Red if fewer of 100 lines are covered among those that the change touches."
    )
    matrix: Matrix = Field(
        {}, description="Axes: one variant for each combination; {axis} in other keys is its value."
    )
    exclude: tuple[dict[str, str], ...] = Field((), description="Combinations of the matrix to leave out.")


class CacheTable(Table):
    """A folder that leased machines keep from run to run: packages, weights, compiled programs. See how-to/caches.md."""

    path: Folder = Field(
        description="The folder on the machine: from the home with `~/`, else relative to the working folder."
    )
    key: CacheKey = Field(
        "",
        description="What is saved once for each: `pip-{files:uv.lock,requirements/*.txt}`. Left out: saved whenever it has "
        "changed.",
    )
    limit: Size = Field("10GB", description="A folder that is larger is not saved.")
    timeout: Duration = Field(600.0, description="How long fetching it may take, and how long saving it.")


class FlagTable(Table):
    """A feature flag between the python and the shell runner. What cannot be parsed turns it off."""

    enabled: Any = Field(True, description="false is the kill switch.", json_schema_extra={"type": "boolean"})
    percentage: Any = Field(
        None,
        description="How many of 100 pull requests or branches get the python runner; left out: the phase decides.",
        json_schema_extra={"type": "number"},
    )
    salt: str = Field("", description="Change it to deal the pull requests anew.")
    opt_in: dict[Literal["users", "labels", "branches", "teams", "suites"], Strings] = Field(
        {}, description="Who always gets the python runner."
    )
    opt_out: dict[Literal["users", "labels", "branches", "teams", "suites"], Strings] = Field(
        {}, description="Who never gets it."
    )
    suites: Strings = Field((), description="The suites it is about; left out: all.")


class QuarantineTable(Table):
    """A test whose failure is shown and not red until a day."""

    test: Filled = Field(description="A node id, or a glob over node ids.")
    owner: Filled = Field(description="Who repairs it.")
    expires: Day = Field(description="The first day on which a failure is red again.")
    reason: str = Field("", description="Why.")
    suite: str | None = Field(None, description="Only in this suite.")


class AlertTable(Table):
    """When a figure of the python runner is so bad that something has to happen."""

    name: Filled = Field(description="What to call it.")
    metric: Literal["success-rate", "fallback-rate", "error-rate", "time-ratio", "memory-ratio"] = Field(
        description="The figure."
    )
    above: Number | None = Field(None, description="Bad above this.")
    below: Number | None = Field(None, description="Bad below this.")
    action: Literal["report", "issue", "disable-flag"] = Field("report", description="What happens.")


class KpiTable(Table):
    """How the python runner's figures are used."""

    shadow_runs: Positive = Field(
        20, description="Clean runs after which a flag that was turned off comes back."
    )


class TrustTable(Table):
    """Who may spend money on machines. A file counts only where it is the default branch's own; see explanation/trust.md."""

    forks: Literal["never", "reviewed"] = Field(
        "never",
        description="Whether a fork's commit may lease a machine once somebody with write access has approved exactly it.",
    )
    bots: Strings = Field(
        (), description="Bots that may start what people with write access may: `release-bot[bot]`."
    )


class NotifyTable(Table):
    """A channel of Slack or Teams where results, costs and bookings are told. Lists may be one text with commas."""

    kind: Kind = Field(description="Whose channel it is.")
    url_env: Variable = Field(
        description="The environment variable that holds the address of the incoming webhook, which is a secret."
    )
    events: Events = Field(("failure", "regression"), description="What is told there.")
    branches: Branches = Field(
        (),
        description="Globs over the tested branch, with ! to leave out; no fork's branch matches. Left out: all branches.",
    )
    quiet_hours: Spans = Field(
        (),
        description='Spans of the day in which nothing is sent: `["22:00-07:00"]`, by the clock of time-zone.',
    )
    time_zone: Zone = Field("UTC", description="Whose clock the quiet hours go by: `Europe/Berlin`.")
    quiet_passes: Passes = Field(
        (), description="What is sent in quiet hours all the same; urgent: alerts that say so themselves."
    )
    at_most: Limit | None = Field(
        None,
        description="The most messages in an hour or a day (UTC): `6/h`, `20/d`; what is more is not sent.",
    )


class RootTable(Table):
    """ci-runner.toml."""

    project: ProjectTable = Field(ProjectTable(), description="The project as a whole.")
    machines: dict[str, MachineTable] = Field({}, description="Machines by name; `local` is always there.")
    suites: dict[str, SuiteTable] = Field({}, description="Suites by name.")
    caches: dict[str, CacheTable] = Field({}, description="Folders that are kept from run to run, by name.")
    flags: dict[str, FlagTable] = Field({}, description="Feature flags by name.")
    path_groups: dict[str, Strings] = Field({}, description="Named lists of globs.")
    quarantine: tuple[QuarantineTable, ...] = Field(
        (), description="Tests whose failures are not red for a while."
    )
    alerts: tuple[AlertTable, ...] = Field((), description="When the python runner is bad enough to act.")
    kpi: KpiTable = Field(KpiTable(), description="How the python runner's figures are used.")
    trust: TrustTable = Field(TrustTable(), description="Who may spend money on machines.")
    budgets: dict[str, Amount] = Field({}, description="Dollars a month by the name of a team.")
    notify: dict[str, NotifyTable] = Field({}, description="Channels of Slack and Teams, by name.")
    stores: dict[str, str] = Field(
        {},
        description='Where things are kept; "history" is the one for records and leases: a folder relative to this file, '
        "`s3://BUCKET/PREFIX` (Amazon S3) or `gs://BUCKET/PREFIX` (Google Cloud Storage), both with the extra `stores`; "
        '`.ci-runner/results` if left out. "caches" is the one for [caches]: a folder or a bucket.',
    )
