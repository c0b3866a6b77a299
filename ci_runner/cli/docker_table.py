"""The Docker actions as data: guard and reap, which run in the image of the Dockerfile at the root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ci_runner.cli.action_inputs import CONFIG, FOLDER, Input
from ci_runner.cli.action_table import Action, Output, Step

GUARD_STEPS = ("main", "release")
PROVIDERS = Input(
    name="providers",
    text="The clouds to ask: gcp-tpu, aws-ec2; then no configuration is needed. Empty: those of its machines.",
    kind="words",
    options={"machines": "--provider", "reap": "--provider"},
    steps=(*GUARD_STEPS, "reap"),
)
REGIONS = Input(
    name="aws-regions",
    text="The regions of AWS to look in. Empty: all that the account has enabled.",
    kind="words",
    steps=(*GUARD_STEPS, "reap"),
)
SCOPE = Input(
    name="scope",
    text=(
        "Whose machines are given back. job: those of this job; run: those of every job and attempt of this workflow"
        " run, which ends what other jobs still use."
    ),
    default="job",
    choices=("job", "run"),
    steps=GUARD_STEPS,
)
PLACES = (
    replace(CONFIG, options={"machines": "--config", "reap": "--config"}, steps=(*GUARD_STEPS, "reap")),
    replace(FOLDER, steps=(*GUARD_STEPS, "reap")),
)
GUARD = Action(
    name="guard",
    title="Guard",
    text="Comes before whatever leases a machine, and gives back after the job what this job still has.",
    inputs=(PROVIDERS, REGIONS, SCOPE, *PLACES),
    outputs=(
        Output(
            name="identity", text="How the names of the jobs begin whose machines are meant.", step="main"
        ),
    ),
    steps=(
        Step(id="main", title="See that everything could be given back"),
        Step(id="release", title="Give back what is left", always=True),
    ),
)
REAP = Action(
    name="reap",
    title="Reap",
    text="Ends the machines in the clouds that outlived their lease: marked by one visit, deleted by a later one.",
    inputs=(
        PROVIDERS,
        REGIONS,
        Input(
            name="dry-run",
            text="true: say what would be marked or deleted, and change nothing.",
            default="false",
            kind="flag",
            options={"reap": "--dry-run"},
            steps=("reap",),
        ),
        Input(
            name="all",
            text="true: the emergency stop, every machine of ours at once, in use or not.",
            default="false",
            kind="flag",
            options={"reap": "--all"},
            steps=("reap",),
        ),
        Input(
            name="team",
            text="Only the machines of this team.",
            options={"reap": "--team"},
            steps=("reap",),
        ),
        *PLACES,
    ),
    outputs=(
        Output(name="listed", text="How many machines of ours there were.", step="reap"),
        Output(name="marked", text="How many were marked for the next visit.", step="reap"),
        Output(name="deleted", text="How many were deleted.", step="reap"),
        Output(name="failed", text="How many could not be marked or deleted.", step="reap"),
    ),
    steps=(Step(id="reap", title="Visit the clouds"),),
)
DOCKER: Mapping[str, Action] = MappingProxyType({item.name: item for item in (GUARD, REAP)})
# what the image has an entry for: its name → action and step (scripts/docker/enter)
ENTRIES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "ci-runner-guard": ("guard", "main"),
        "ci-runner-guard-release": ("guard", "release"),
        "ci-runner-reap": ("reap", "reap"),
    }
)
