"""What the rest of the program sees of the configuration: frozen values with the origin of each."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path

from ci_runner.model import MachineSpec, Risk, Runner, Suite

KEY_FILES = re.compile(r"\{files:([^{}]+)\}")  # in the key of a cache: globs, separated by commas


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value came from: default, a file with its line, an environment variable or a flag."""

    kind: str  # default | file | environment | flag
    name: str  # the file's path, the variable, the flag; "" for default
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagSpec:
    """A feature flag that chooses between the python and the shell runner, as configured."""

    name: str
    enabled: bool = True  # False is the kill switch: everyone gets the shell runner
    percentage: float | None = None  # None: the phase decides
    salt: str = ""
    opt_in: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # users, labels, branches, teams, suites
    opt_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    suites: tuple[str, ...] = ()  # empty: all suites
    problems: tuple[str, ...] = ()  # what could not be parsed; any problem means off


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A test whose failure is shown and not red until a date."""

    test: str  # a node id, or a glob over node ids
    owner: str
    expires: str  # YYYY-MM-DD; the first day on which a failure is red again
    reason: str = ""
    suite: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """When a runner KPI is so bad that something has to happen."""

    name: str
    metric: str  # success-rate | fallback-rate | error-rate | time-ratio | memory-ratio
    above: float | None = None
    below: float | None = None
    action: str = "report"  # report | issue | disable-flag


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRules:
    """Who may spend money besides people with write access; by default nobody."""

    forks: str = "never"  # never | reviewed: the exact commit approved by somebody with write access
    bots: tuple[str, ...] = ()  # logins with their [bot]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """A channel of Slack or Teams, and when it is told what."""

    name: str
    kind: str  # slack | teams
    url_env: str  # the environment variable with the webhook's address, which is a secret
    events: tuple[str, ...] = ("failure", "regression")
    branches: tuple[str, ...] = ()  # globs; empty: all
    quiet_hours: tuple[
        tuple[time, time], ...
    ] = ()  # from and to by the clock of time_zone; may pass midnight
    time_zone: str = "UTC"
    quiet_passes: tuple[str, ...] = ()  # events, or "urgent"
    at_most: tuple[int, int] | None = None  # so many messages in so many seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A folder of leased machines that is kept from run to run in the store of caches."""

    name: str
    path: str  # on the machine; relative to the working folder, or from the home with ~
    key: str = ""  # {files:GLOB,GLOB} in it stands for what these files hold
    limit_bytes: int = 10_000_000_000
    timeout_seconds: float = 600.0  # for each way

    @property
    def patterns(self) -> tuple[tuple[str, ...], ...]:
        """The globs of each {files:…} of the key."""
        return tuple(
            tuple(word.strip() for word in found.split(",") if word.strip())
            for found in KEY_FILES.findall(self.key)
        )

    def key_with(self, digests: Sequence[str]) -> str:
        """The key with what the files of each {files:…} hold."""
        left = iter(digests)
        return KEY_FILES.sub(lambda _: next(left), self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration, resolved."""

    root: Path
    name: str = ""
    default_branch: str = "main"
    default_runner: Runner = Runner.PYTHON
    phase: str | None = None  # of the python runner's rollout: 1, 2A, 2B, 2C, 3 or 4; None: no rollout
    fallback_risks: tuple[Risk, ...] = (
        Risk.LOW,
        Risk.MEDIUM,
    )  # suites that may fall back to the shell runner
    retry_limit: int = 20  # with more failing tests than this the failure is systemic, and nothing is retried
    resume_limit: int = 3  # new machines that one selection may get after its own was taken away
    developer: str = ""
    team: str | None = None
    suites: Mapping[str, Suite] = field(default_factory=dict)
    machines: Mapping[str, MachineSpec] = field(default_factory=dict)
    flags: Mapping[str, FlagSpec] = field(default_factory=dict)
    path_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ignored_paths: tuple[str, ...] = ()  # changes that select nothing by themselves
    allow_nothing_due: bool = True  # an empty selection that the rules explain is green
    quarantine: tuple[Quarantine, ...] = ()
    alerts: tuple[Alert, ...] = ()
    shadow_runs: int = 20  # clean runs after which a flag that was turned off comes back
    trust: TrustRules = TrustRules()
    budgets: Mapping[str, float] = field(default_factory=dict)  # name → dollars a month
    notify: Mapping[str, Notify] = field(default_factory=dict)
    stores: Mapping[str, str] = field(
        default_factory=dict
    )  # name → location: "history" for Records and leases, "caches" for caches
    caches: Mapping[str, Cache] = field(default_factory=dict)
    log_limit_bytes: int = 256 * 1024 * 1024
    fetched_from: tuple[str, ...] = ()  # the files that were read, in order
    origins: Mapping[str, Origin] = field(default_factory=dict)  # "suites.unit.timeout" → origin
    values: Mapping[str, object] = field(default_factory=dict)  # the same keys → the value as configured

    def named(self, file: str | None) -> Settings:
        """The same, its suites marked with the configuration that a person named to get them."""
        suites = {name: dataclasses.replace(suite, configuration=file) for name, suite in self.suites.items()}
        return dataclasses.replace(self, suites=suites) if file else self
