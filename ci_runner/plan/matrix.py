"""A plan as GitHub's matrix, within its limits; and the part of a plan that one job of the matrix runs. Pure."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ci_runner import codec
from ci_runner.config.settings import Settings
from ci_runner.errors import ConfigurationError, UsageError
from ci_runner.github.commands import one_line
from ci_runner.model import Plan, Selection
from ci_runner.plan.context import local_machine

MOST_JOBS = 256  # docs.github.com/actions/reference/actions-limits
# A job's outputs end at 1 MB, counted in UTF-16; the other outputs need a little.
MOST_CHARACTERS = 500_000
RUNS_ON = "ubuntu-latest"
PLATFORMS = {"gcp-tpu": "gcp", "aws-ec2": "aws"}  # other providers are called alike in both places
# A workflow may put these names into a shell line or a file name, so nothing in them means anything to either.
SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,=@+:/\[\]-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """What a workflow needs to know of a plan; `grouped` says that entries are parts of a saved plan."""

    include: tuple[Mapping[str, object], ...]
    machines: tuple[str, ...]  # those that have to be leased
    grouped: bool = False

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs of the step; an empty matrix is an error to GitHub, hence `any`."""
        return {
            "matrix": dump({"include": self.include}),
            "any": "true" if self.include else "false",
            "machine": dump(self.machines),
            **_half("hosted", [entry for entry in self.include if not entry["leased"]]),
            **_half("leased", [entry for entry in self.include if entry["leased"]]),
        }


def _half(name: str, entries: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """The outputs for the jobs that lease, or do not: only the former may hold what opens a cloud."""
    return {f"{name}-matrix": dump({"include": entries}), f"any-{name}": "true" if entries else "false"}


def matrix_of(plan: Plan, settings: Settings) -> Matrix:
    """One job a selection; if that is too much for GitHub, at most 256 jobs that hold the ids of several.

    Raises ConfigurationError for a name that could mean something to a shell, and UsageError if even that is too much.
    """
    entries = [_entry(selection, settings) for selection in plan.selected]
    machines = sorted(
        {item.suite.machine for item in plan.selected if not local_machine(item.suite.machine, settings)}
    )
    matrix = Matrix(include=tuple(entries), machines=tuple(machines))
    if len(entries) > MOST_JOBS or len(matrix.outputs["matrix"]) > MOST_CHARACTERS:
        matrix = dataclasses.replace(matrix, include=tuple(_grouped(entries)), grouped=True)
    if len(matrix.outputs["matrix"]) > MOST_CHARACTERS:
        raise UsageError(
            f"the plan's {len(entries):,} jobs are too many for one workflow, even {MOST_JOBS} at a time",
            fix="use fewer shards, or split the configuration over several workflows",
        )
    return matrix


def dump(value: object) -> str:
    """JSON on one line that no reader of a step's output takes for a command."""
    return inert(json.dumps(codec.plain(value), separators=(",", ":")))


def inert(text: str) -> str:
    """The same JSON, with `##[` inside of strings written so that a runner does not see a command in it."""
    return text.replace("##[", "#\\u0023[")


def read_plan(text: str, where: str) -> Plan:
    """The plan that `codec.dumps` wrote. Raises UsageError if it is not one."""
    try:
        return codec.build(Plan, json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"this is no saved plan: {one_line(str(error), 200)}",
            where=where,
            fix="save it again with: ci-runner plan --save-plan FILE",
        ) from error


def part_of(plan: Plan, ids: Sequence[str]) -> Plan:
    """The plan with only the selections of these ids, in its order. Raises UsageError for an id it does not have."""
    wanted = list(dict.fromkeys(ids))
    known = {selection.id for selection in plan.selected}
    missing = [name for name in wanted if name not in known]
    if missing or not wanted:
        raise UsageError(
            f'the plan has no selection "{one_line(missing[0], 80)}"'
            if missing
            else "no id of the plan was given",
            fix="take the ids from the matrix that was made with this plan",
        )
    return dataclasses.replace(plan, selected=tuple(item for item in plan.selected if item.id in set(wanted)))


def _entry(selection: Selection, settings: Settings) -> dict[str, object]:
    suite, shard = selection.suite, selection.shard
    for name, place in (
        (suite.name, f"suites.{suite.name}"),
        (suite.machine, f"suites.{suite.name}.machine"),
    ):
        _check(name, place)
    return {
        "id": selection.id,
        "ids": selection.id,
        "suite": suite.name,
        "shard": f"{shard.index}/{shard.total}" if shard is not None and shard.total > 1 else "",
        "machine": suite.machine,
        "leased": not local_machine(suite.machine, settings),
        "platform": _platform(suite.machine, settings),
        "runs-on": _runs_on(suite.machine, settings),
        "runner": selection.runner.variant.value if selection.runner is not None else "",
    }


def _platform(machine: str, settings: Settings) -> str:
    """Who lends the machine, as the input platform of actions says it."""
    spec = settings.machines.get(machine)
    return PLATFORMS.get(spec.provider, spec.provider) if spec is not None else "local"


def _runs_on(machine: str, settings: Settings) -> str | list[str]:
    """The runner that the job itself runs on: `runs-on` of the machine, labels separated by commas."""
    spec = settings.machines.get(machine)
    labels = [label.strip() for label in (spec.options.get("runs-on", "") if spec else "").split(",")]
    labels = [label for label in labels if label]
    for label in labels:
        _check(label, f"machines.{machine}.runs-on")
    return labels if len(labels) > 1 else labels[0] if labels else RUNS_ON


def _check(name: str, place: str) -> None:
    if not SAFE.fullmatch(name):
        raise ConfigurationError(
            f'"{one_line(name, 80)}" cannot be put into a matrix: it has characters that mean something to a shell',
            where=one_line(place, 120),
            fix="use letters, digits and _ . - , = @ + : / [ ] only, and begin with a letter, a digit or _",
        )


def _grouped(entries: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """The entries in at most 256 jobs of nearly the same number of ids each, alike in machine and runner."""
    classes: dict[str, list[Mapping[str, object]]] = {}
    for entry in entries:
        classes.setdefault(dump({name: entry[name] for name in ALIKE}), []).append(entry)
    spare = MOST_JOBS - len(classes)
    if spare < 0:
        raise UsageError(
            f"the plan needs {len(classes)} different machines, and a workflow has at most {MOST_JOBS} jobs",
            fix="split the configuration over several workflows",
        )
    jobs: list[dict[str, Any]] = []
    for alike in classes.values():
        count = min(len(alike), 1 + spare * len(alike) // len(entries))
        bounds = [len(alike) * place // count for place in range(count + 1)]
        for low, high in pairwise(bounds):
            ids = [str(entry["id"]) for entry in alike[low:high]]
            common = {name: alike[0][name] for name in ALIKE}
            jobs.append(
                {"id": f"part-{len(jobs) + 1}", "ids": " ".join(ids), "suite": "", "shard": "", **common}
            )
    return jobs


ALIKE = ("machine", "leased", "platform", "runs-on", "runner")
