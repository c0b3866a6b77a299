"""The actions as data: their inputs, outputs and steps. action.yml files, the reference and the code all come from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from ci_runner.cli.action_inputs import (
    ADD_TO_PATH,
    ALREADY_RUN,
    CHANGED,
    CONFIG,
    EXPLAIN,
    EXTRAS,
    FOLDER,
    GPU_TYPE,
    JOINED,
    LEASE,
    MACHINE,
    PLATFORM,
    PUBLISH,
    PYTHON_RUNNER,
    REPORTING,
    SELECTION,
    SUITES,
    TEST_CONFIG,
    TOKEN,
    TPU_TYPE,
    Input,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output and the step that gives it."""

    name: str
    text: str
    step: str = "report"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: `scripts/action ACTION STEP`; one that is always run also runs when something failed or was cancelled."""

    id: str
    title: str
    always: bool = False
    given: tuple[tuple[str, str], ...] = ()  # (step, output): what an earlier step found out


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One action; `provider` is who lends its machines, if that is decided."""

    name: str
    title: str
    text: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    steps: tuple[Step, ...]
    provider: str | None = None

    def inputs_of(self, step: str) -> tuple[Input, ...]:
        """The inputs that a step is told of."""
        return tuple(item for item in self.inputs if step in item.steps)


REPORTED = (
    Output(
        name="conclusion",
        text="passed, failed, incomplete (something was not tested), empty (nothing ran), or error.",
    ),
    Output(name="tests", text="How many tests there are."),
    Output(name="passed", text="How many passed."),
    Output(name="failed", text="How many failed."),
    Output(name="errored", text="How many could not be run because of an error around them."),
    Output(name="skipped", text="How many were skipped."),
    Output(name="flaky", text="How many failed and passed when they were repeated."),
    Output(name="missing", text="How many were expected and never ran."),
    Output(name="duration-seconds", text="How long it took."),
    Output(name="cost-usd", text="What the machines cost, in US dollars."),
    Output(name="report-json", text="The path of the report as a JSON file."),
    Output(
        name="summary-file", text="The path of the summary as a Markdown file; empty if none was asked for."
    ),
    Output(name="comment-url", text="The address of the comment; empty if none was written."),
    Output(name="lease-id", text="The ids of the leases, separated by blanks; empty if nothing was leased."),
)
RESULTS = Output(
    name="results-folder",
    text="The run folder, to be kept as an artifact and given to the action report.",
    step="run",
)
RUN = Step(id="run", title="Run the suites")
REPORT = Step(id="report", title="Tell what came of it", always=True, given=(("run", "results-folder"),))
RELEASE = Step(id="release", title="Give back what this job leased", always=True)


def _whole(name: str, title: str, text: str, *inputs: Input, publish: str, provider: str | None) -> Action:
    """An action that runs, reports and, if it leased, releases."""
    steps = (RUN, REPORT) if provider == "local" else (RUN, REPORT, RELEASE)
    told = replace(PUBLISH, default=publish)
    token = TOKEN if provider == "local" else replace(TOKEN, steps=("run", "report"))
    return Action(
        name=name,
        title=title,
        text=text,
        inputs=(*inputs, CONFIG, FOLDER, token, told, *REPORTING, EXTRAS),
        outputs=(*REPORTED, RESULTS),
        steps=steps,
        provider=provider,
    )


SETUP = Action(
    name="setup",
    title="Set up ci-runner",
    text="Makes the locked environment in RUNNER_TEMP and lets later steps call ci-runner.",
    inputs=(
        ADD_TO_PATH,
        EXTRAS,
    ),
    outputs=(
        Output(name="command", text="The path of ci-runner.", step="setup"),
        Output(name="version", text="The version of ci-runner.", step="setup"),
    ),
    steps=(Step(id="setup", title="Set up ci-runner"),),
)
PLAN = Action(
    name="plan",
    title="Plan",
    text="Says which suites an event needs, and why; gives the matrix that runs them.",
    inputs=(
        TEST_CONFIG,
        SUITES,
        CHANGED,
        PYTHON_RUNNER,
        ALREADY_RUN,
        EXPLAIN,
        replace(TOKEN, steps=("plan",)),
        CONFIG,
        FOLDER,
        EXTRAS,
    ),
    outputs=(
        Output(name="matrix", text="The matrix for strategy.matrix, as JSON.", step="plan"),
        Output(
            name="any",
            text="true if the matrix has a job; an empty matrix is an error to GitHub.",
            step="plan",
        ),
        Output(name="machine", text="The machines that have to be leased, as a JSON list.", step="plan"),
        Output(
            name="hosted-matrix",
            text="The part of the matrix that leases nothing: its jobs need nothing of any cloud.",
            step="plan",
        ),
        Output(name="any-hosted", text="true if that part has a job.", step="plan"),
        Output(
            name="leased-matrix",
            text="The part of the matrix that leases machines; each says whose, in platform.",
            step="plan",
        ),
        Output(name="any-leased", text="true if that part has a job.", step="plan"),
        Output(name="plan", text="The path of the saved plan, to be kept as an artifact.", step="plan"),
    ),
    steps=(Step(id="plan", title="Choose the suites"),),
)
TEST = _whole(
    "test",
    "Test",
    "Runs the suites that need no leased machine, here on this runner, and tells what came of it.",
    *SELECTION,
    publish="summary,annotations",
    provider="local",
)
TPU_TEST = _whole(
    "tpu-test",
    "Test on a TPU",
    "Leases a TPU on Google Cloud, runs the suites there, tells what came of it, and gives the TPU back.",
    *SELECTION,
    MACHINE,
    TPU_TYPE,
    *LEASE,
    publish="summary,annotations,comment",
    provider="gcp-tpu",
)
GPU_TEST = _whole(
    "gpu-test",
    "Test on a GPU",
    "Leases a GPU machine on AWS, runs the suites there, tells what came of it, and gives the machine back.",
    *SELECTION,
    MACHINE,
    GPU_TYPE,
    *LEASE,
    publish="summary,annotations,comment",
    provider="aws-ec2",
)
BENCHMARK = _whole(
    "benchmark",
    "Benchmark",
    "Runs suites that measure, on a machine of the configuration, and keeps their metrics.",
    *SELECTION,
    MACHINE,
    PLATFORM,
    publish="summary",
    provider=None,
)
REPORT_ACTION = Action(
    name="report",
    title="Report",
    text="Joins the results of all jobs, compares them with the base, and tells people.",
    inputs=(
        *JOINED,
        CONFIG,
        FOLDER,
        TOKEN,
        replace(PUBLISH, default="summary,annotations,comment"),
        *REPORTING,
        EXTRAS,
    ),
    outputs=REPORTED,
    steps=(replace(REPORT, always=False, given=()),),
)
ACTIONS: Mapping[str, Action] = MappingProxyType(
    {item.name: item for item in (SETUP, PLAN, TEST, TPU_TEST, GPU_TEST, BENCHMARK, REPORT_ACTION)}
)
