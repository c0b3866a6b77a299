"""What the rules of a suite speak of: events, changed paths, labels, and the words for why a suite is not due. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ci_runner.config.settings import Settings
from ci_runner.model import Event, Suite, When
from ci_runner.plan.paths import PathIndex

PULL_REQUESTS = ("pull_request", "pull_request_target")
# What rules about paths or branches mean if `events` is left away.
ON_A_CHANGE = ("push", "pull_request", "merge_group")
WITHOUT_CHANGE = ("schedule", "workflow_dispatch", "repository_dispatch")
# These run with the secrets of the base repository, for a fork too.
HOLDS_SECRETS = ("pull_request_target", "workflow_run", "issue_comment")
SUITE_LABEL = "test-config/"
NO_LABEL = "no-"

# Codes of skips. The first group is what the configuration calls not due; the others make nothing green.
NOT_DUE = (
    "event",  # the event is not among the suite's
    "action",  # the event brings nothing new to test
    "schedule",  # another schedule
    "branch",
    "paths",  # no changed file matches
    "ignored-paths",  # only files changed that select nothing
    "label",  # none of its labels acts
    "input",
    "draft",
    "skip-label",
    "already-ran",  # on this commit
)
REFUSED = ("untrusted",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What a rule says of a suite; `code` is empty when it is due."""

    reason: str
    rule: str
    code: str = ""
    evidence: str | None = None

    @property
    def due(self) -> bool:
        """Whether the suite is to run."""
        return not self.code


class Changes:
    """The changed paths of an event, both of a rename, and what the configuration says of them."""

    def __init__(self, event: Event, settings: Settings) -> None:
        files = event.changed_files or ()
        paths = [file.path for file in files] + [file.previous_path for file in files if file.previous_path]
        self.known = event.changed_files is not None
        self.complete = self.known and event.changed_files_complete
        self.note = event.changed_files_note or "the changed files are not known"
        self.index = PathIndex(paths)
        self.groups = settings.path_groups
        self._settings = settings

    @cached_property
    def ignored(self) -> int:
        """Files that select nothing by themselves."""
        return self.index.given(self._settings.ignored_paths)

    @cached_property
    def unknown(self) -> int:
        """Files that no path rule, path group or ignored path speaks of."""
        spoken_of = self.ignored
        for patterns in self.groups.values():
            spoken_of |= self.index.spoken_of(patterns)
        for suite in self._settings.suites.values():
            if suite.when.paths:
                spoken_of |= self.index.spoken_of(suite.when.paths)
        return self.index.everything & ~spoken_of


class Context:
    """Everything but the suite that a ruling depends on."""

    def __init__(
        self,
        event: Event,
        settings: Settings,
        already: frozenset[str] = frozenset(),
        machine: str | None = None,
    ) -> None:
        self.event = event
        self.settings = settings
        self.already = already
        self.machine = machine  # that the command line names for all suites
        self.changes = Changes(event, settings)
        labels = [*event.labels, *([event.label_added] if event.label_added else [])]
        self.labels: Mapping[str, str] = {fold(label): label for label in labels}

    def is_local(self, suite: Suite) -> bool:
        """Whether the suite runs on the machine that ci-runner runs on, and so leases nothing."""
        return local_machine(suite.machine, self.settings)


def local_machine(name: str, settings: Settings) -> bool:
    """Whether a machine is the one that ci-runner runs on."""
    spec = settings.machines.get(name)
    return spec.provider == "local" if spec is not None else name == "local"


def fold(label: str) -> str:
    """A label as it is compared: GitHub's ignore case."""
    return label.casefold()


def has_rule(when: When) -> bool:
    """Whether anything but a name can select the suite."""
    return any(
        (when.events, when.schedule, when.branches, when.paths, when.path_groups, when.labels, when.inputs)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A suite with the rules that hold for it and their place in the configuration."""

    suite: Suite
    when: When
    place: str  # suites.NAME.when, or suites.NAME.tier for the rules that a tier stands for

    @property
    def names(self) -> tuple[str, ...]:
        """What the suite answers to in labels: its own name, and that of the suite it is a variant of."""
        return (self.suite.name, self.suite.base) if self.suite.base else (self.suite.name,)

    def rule(self, member: str) -> str:
        """The place of one rule."""
        return self.place if self.place.endswith(".tier") else f"{self.place}.{member}"


def subject_of(suite: Suite) -> Subject:
    """The suite with its own rules; if it has none, with those of its tier."""
    when = suite.when
    if has_rule(when) or suite.tier is None:
        return Subject(suite=suite, when=when, place=f"suites.{suite.name}.when")
    labels: tuple[str, ...] = (f"run-{suite.name}-tests",)
    if suite.machine != "local":
        labels = (f"run-{suite.machine}-tests", *labels)
    if suite.tier == "cpu":
        when = dataclasses.replace(when, events=(*ON_A_CHANGE, "workflow_dispatch"))
    elif suite.tier == "accelerator":
        when = dataclasses.replace(when, events=("schedule", "workflow_dispatch"), labels=labels)
    elif suite.tier == "on-demand":
        when = dataclasses.replace(when, labels=labels)
    return Subject(suite=suite, when=when, place=f"suites.{suite.name}.tier")


def events_of(when: When) -> tuple[str, ...]:
    """The kinds of event that select by themselves; rules about a change mean those that bring one."""
    events = when.events
    if not events and (when.paths or when.path_groups or when.branches):
        events = ON_A_CHANGE
    return events if not when.schedule or "schedule" in events else (*events, "schedule")


def speaks_of(suite: Suite, event: Event) -> bool:
    """Whether the configuration has thought of this event, so that not being due is a decision."""
    when = subject_of(suite).when
    if event.kind == "schedule":
        return "schedule" in events_of(when) and (not when.schedule or event.schedule in when.schedule)
    by_label = bool(when.labels) and event.kind in PULL_REQUESTS
    by_input = any(name in event.inputs for name in when.inputs)
    return event.kind in events_of(when) or by_label or by_input
