"""The rules that every workflow of ours keeps, in the repository and in what the documentation lets people copy."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

yaml: Any = importlib.import_module("yaml")  # it brings no types
ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"
OWNER, VERSION = "org/kpt/", "v1"
OURS = re.compile(r"org/kpt/(?:actions/(?P<action>[a-z-]+)|\.github/workflows/(?P<workflow>[a-z-]+)\.yml)@v1")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
USES = re.compile(r"^\s*(?:-\s+)?uses:\s*(?P<what>\S+)(?:\s+#\s*(?P<comment>.*))?$")
RELEASED = re.compile(r"v\d+\.\d+\.\d+(?:\s|$)")
# what another commit than the event's own may be checked out for: a person with write access names it
DISPATCHED = "${{ github.event_name == 'workflow_dispatch' && inputs.commit || '' }}"
FOREIGN = (
    "pull_request_target",
    "workflow_run",
    "issue_comment",
)  # run with secrets for somebody without them
GIVES_BACK = re.compile(r"machines release|org/kpt/actions/reap@")
CHECKS_OUT = re.compile(
    r"gh\s+pr\s+checkout|git\s+(?:checkout|switch|merge|rebase|reset|pull|worktree|cherry-pick)"
)
RANK = {"none": 0, "read": 1, "write": 2}


@dataclass(frozen=True)
class Workflow:
    """One workflow: what it is called in messages, and its text."""

    name: str
    text: str

    @cached_property
    def tree(self) -> dict[Any, Any]:
        """The parsed file."""
        found = yaml.safe_load(self.text)
        assert isinstance(found, dict), self.name
        return found

    @property
    def events(self) -> set[str]:
        """The names of its events; YAML 1.1 reads `on` as true."""
        on = self.tree.get("on", self.tree.get(True))
        return {on} if isinstance(on, str) else set(on or ())

    @property
    def called(self) -> Mapping[str, Any]:
        """What it says of being called."""
        on = self.tree.get("on", self.tree.get(True))
        return (on.get("workflow_call") or {}) if isinstance(on, dict) else {}

    @property
    def jobs(self) -> Mapping[str, dict[str, Any]]:
        """Its jobs."""
        return self.tree["jobs"]  # type: ignore[no-any-return]

    def steps(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Every step: the job's name, the job, the step."""
        for name, job in self.jobs.items():
            for step in job.get("steps", ()):
                yield name, job, step


def workflow_files() -> list[Workflow]:
    """The workflows of this repository."""
    return [Workflow(path.name, path.read_text("utf-8")) for path in sorted(WORKFLOWS.glob("*.yml"))]


def problems(workflow: Workflow) -> list[str]:
    """Everything that breaks a rule, each with its place."""
    found: list[str] = []
    for rule in (rights, times, scripts, foreign_code, pins, own_uses, concurrency, artifacts, identities):
        found += [f"{workflow.name}: {problem}" for problem in rule(workflow)]
    return found


def rights(workflow: Workflow) -> Iterator[str]:
    """Nothing is allowed but what a job says that it needs."""
    if workflow.tree.get("permissions") != {}:
        yield "the top has no `permissions: {}`"
    for name, job in workflow.jobs.items():
        if not isinstance(job.get("permissions"), dict):
            yield f"job {name} does not list its permissions"


def times(workflow: Workflow) -> Iterator[str]:
    """A job that hangs is ended; one that calls a workflow can have no limit of its own."""
    for name, job in workflow.jobs.items():
        if "uses" not in job and "timeout-minutes" not in job:
            yield f"job {name} has no timeout-minutes"


def scripts(workflow: Workflow) -> Iterator[str]:
    """What is put into a script by an expression is code there."""
    for name, _, step in workflow.steps():
        if "${{" in str(step.get("run", "")):
            yield f"job {name}: a script has an expression in it; hand it over in env"


def foreign_code(workflow: Workflow) -> Iterator[str]:
    """Nobody's commit but the event's own is checked out, and none keeps the token."""
    strict = bool(workflow.events & set(FOREIGN))
    for name, _, step in workflow.steps():
        if str(step.get("uses", "")).startswith("actions/checkout@"):
            given = step.get("with", {})
            if given.get("persist-credentials") is not False:
                yield f"job {name}: checkout keeps the token"
            if "repository" in given or given.get("ref") not in ((None,) if strict else (None, DISPATCHED)):
                yield f"job {name}: checkout of {given.get('ref') or given.get('repository')}"
        if strict and CHECKS_OUT.search(str(step.get("run", ""))):
            yield f"job {name}: a script checks something out"


def pins(workflow: Workflow) -> Iterator[str]:
    """What others wrote is named by commit, with the version for people and Dependabot beside it."""
    for number, line in enumerate(workflow.text.splitlines(), start=1):
        found = USES.match(line)
        if found is None or found["what"].startswith(OWNER):
            continue
        if not PINNED.fullmatch(found["what"]):
            yield f"line {number}: {found['what']} is not pinned by a commit"
        elif not RELEASED.match(found["comment"] or ""):
            yield f"line {number}: {found['what']} has no version beside it"


def own_uses(workflow: Workflow) -> Iterator[str]:
    """What we wrote is named in one form and one version, exists, and is given what it knows."""
    for name, job in workflow.jobs.items():
        for what in [job, *job.get("steps", ())]:
            uses = str(what.get("uses", ""))
            if not (uses.startswith((OWNER, ".", "$")) or "/kpt/" in uses):
                continue
            known = OURS.fullmatch(uses)
            if known is None:
                yield f"job {name}: {uses} is not of the form org/kpt/…@{VERSION}"
                continue
            yield from (f"job {name}: {text}" for text in misuse(known, what))


def misuse(known: re.Match[str], what: Mapping[str, Any]) -> Iterator[str]:
    """What an action or workflow of ours is given that it does not know, or not given that it needs."""
    if known["action"]:
        path = ROOT / "actions" / known["action"] / "action.yml"
        inputs = yaml.safe_load(path.read_text("utf-8"))["inputs"] if path.is_file() else None
    else:
        path = WORKFLOWS / f"{known['workflow']}.yml"
        inputs = ours(path).called.get("inputs", {}) if path.is_file() else None
    if inputs is None:
        yield f"{known[0]} does not exist"
        return
    for name in set(what.get("with", {})) - set(inputs):
        yield f"{known[0]} has no input {name}"
    for name, item in inputs.items():
        if item.get("required") and name not in what.get("with", {}):
            yield f"{known[0]} needs the input {name}"
    if known["workflow"]:
        for scope, level in wanted(path).items():
            if RANK[what.get("permissions", {}).get(scope, "none")] < RANK[level]:
                yield f"{known[0]} needs `{scope}: {level}`, or GitHub does not start it"


@lru_cache
def ours(path: Path) -> Workflow:
    """A workflow of this repository."""
    return Workflow(path.name, path.read_text("utf-8"))


def wanted(path: Path) -> dict[str, str]:
    """The permissions that the jobs of a workflow of ours want together: the least that a caller must have."""
    found: dict[str, str] = {}
    for job in ours(path).jobs.values():
        for scope, level in job["permissions"].items():
            found[scope] = max(level, found.get(scope, "none"), key=RANK.__getitem__)
    return found


def cancels(block: object) -> bool:
    """Whether a concurrency block may end what is under way."""
    return isinstance(block, dict) and block.get("cancel-in-progress", False) is not False


def gives_back(job: Mapping[str, Any]) -> bool:
    """Whether a job ends machines, or calls a workflow that has such a job."""
    uses = OURS.fullmatch(str(job.get("uses", "")))
    if uses is not None and uses["workflow"]:
        path = WORKFLOWS / f"{uses['workflow']}.yml"
        return path.is_file() and any(map(gives_back, ours(path).jobs.values()))
    return any(
        GIVES_BACK.search(f"{step.get('run', '')}\n{step.get('uses', '')}") for step in job.get("steps", ())
    )


def concurrency(workflow: Workflow) -> Iterator[str]:
    """A newer commit of a pull request ends the tests of the older one, and never what gives machines back."""
    whole = cancels(workflow.tree.get("concurrency"))
    for name, job in workflow.jobs.items():
        block = job.get("concurrency")
        if gives_back(job) and (whole or cancels(block)):
            yield f"job {name} gives machines back and may be cancelled by a newer run"
        group = str(block.get("group", "")) if isinstance(block, dict) else str(block or "")
        if "matrix" in job.get("strategy", {}) and block and "matrix." not in group:
            yield f"job {name}: the jobs of its matrix would cancel one another"
        if cancels(block) and not ("pull_request.number" in group or "github.ref" in group):
            yield f"job {name}: cancels across pull requests"
    if workflow.events & {"pull_request", "pull_request_target"} and "concurrency" not in workflow.tree:
        yield from (
            f"job {name}: nothing ends it when a newer commit comes"
            for name, job in workflow.jobs.items()
            if "concurrency" not in job and "uses" not in job
        )


def artifacts(workflow: Workflow) -> Iterator[str]:
    """Jobs of a matrix keep their results under names of their own."""
    for name, job, step in workflow.steps():
        if str(step.get("uses", "")).startswith("actions/upload-artifact@") and "matrix" in job.get(
            "strategy", {}
        ):
            called = str(step.get("with", {}).get("name", ""))
            if "strategy.job-index" not in called and "matrix." not in called:
                yield f"job {name}: its matrix uploads several artifacts of the name {called!r}"


SIGNERS = ("actions/attest-build-provenance@", "ossf/scorecard-action@")


def identities(workflow: Workflow) -> Iterator[str]:
    """Whoever can prove to a cloud who he is, is in the environment that is guarded, and runs no suite on the runner."""
    for name, job in workflow.jobs.items():
        if "uses" in job or job.get("permissions", {}).get("id-token") != "write":
            continue
        environment = job.get("environment", "")
        signs = any(str(step.get("uses", "")).startswith(SIGNERS) for step in job["steps"])
        if signs and not any("credentials" in str(step.get("uses", "")) for step in job["steps"]):
            continue  # the identity signs what was made here; no cloud knows this job
        if "accelerators" not in str(environment):
            yield f"job {name} holds an identity outside of the environment accelerators"
        if any(str(step.get("uses", "")).startswith("org/kpt/actions/test@") for step in job["steps"]):
            yield f"job {name} runs suites on a runner that holds an identity"
