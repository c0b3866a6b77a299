"""The inputs of the actions as data: what each one means, and what it becomes on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["text", "flag", "number", "words", "lines"]
GITHUB_TOKEN = "${{ github.token }}"  # noqa: S105 - an expression, which GitHub evaluates


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input: what it means, and the option of each command that it becomes ("" is a positional argument)."""

    name: str
    text: str
    default: str = ""
    kind: Kind = "text"  # words: separated by commas or blanks; lines: one a line
    choices: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ("run",)  # the steps that are told of it


EVERYWHERE = ("setup", "plan", "run", "report", "release")
CONFIG = Input(
    name="config",
    text="The configuration file. Empty: ci-runner.toml, found upwards.",
    options=dict.fromkeys(("plan", "run", "report", "machines"), "--config"),
    steps=EVERYWHERE,
)
FOLDER = Input(
    name="working-directory",
    text="The folder to work in, below the workspace.",
    default=".",
    steps=EVERYWHERE,
)
EXTRAS = Input(
    name="extras",
    text="What to install besides what the action needs: aws, gcp, github, ssh, stats, stores (buckets).",
    kind="words",
    steps=EVERYWHERE,
)
PYTHON_RUNNER = Input(
    name="use-python-test-runner",
    text="true or false decides for the python or the shell runner; empty leaves it to the feature flags.",
    options={"plan": "--use-python-test-runner", "run": "--use-python-test-runner"},
    steps=("plan", "run"),
)
TEST_CONFIG = Input(
    name="test-config",
    text="One suite of the configuration.",
    options={"plan": "", "run": ""},
    steps=("plan", "run", "report"),
)
SUITES = Input(
    name="suites",
    text="Suites of the configuration, separated by commas, or all. Empty: those that are due for the event.",
    kind="words",
    options={"plan": "", "run": ""},
    steps=("plan", "run", "report"),
)
CHANGED = Input(
    name="changed-files",
    text="A file with the changed files, one a line. Empty: git is asked.",
    options={"plan": "--changed-files", "run": "--changed-files"},
    steps=("plan", "run"),
)
SELECTION = (
    TEST_CONFIG,
    SUITES,
    Input(
        name="test-path",
        text="Tests to run without configuration, one path a line.",
        kind="lines",
        options={"run": "--test-path"},
    ),
    Input(name="plan", text="The file of a plan that the action plan made.", options={"run": "--plan"}),
    Input(
        name="ids",
        text="The parts of the plan to run: ids of its matrix.",
        kind="words",
        options={"run": "--id"},
        steps=("run", "report"),
    ),
    Input(
        name="shard",
        text="Run only part I of N of each suite, written I/N.",
        options={"run": "--shard"},
        steps=("run", "report"),
    ),
    CHANGED,
    PYTHON_RUNNER,
    Input(
        name="upload-results",
        text="true: fail before anything is leased if records would be kept nowhere but on the runner.",
        default="false",
        kind="flag",
        options={"run": "--upload-results"},
    ),
    Input(
        name="live",
        text="true: show the output of the suites while they run.",
        default="false",
        kind="flag",
        options={"run": "--live"},
    ),
)
MACHINE = Input(
    name="machine",
    text="A machine of the configuration, instead of the suites' own.",
    options={"run": "--machine"},
)
LEASE = (
    Input(
        name="zones",
        text="Zones to try, in this order. Empty: every zone that has the type.",
        kind="words",
        options={"run": "--zone"},
    ),
    Input(
        name="spot",
        text="true: only a machine that can be taken away, and costs less.",
        default="false",
        kind="flag",
        options={"run": "--spot"},
    ),
    Input(
        name="max-minutes",
        text="The longest lease, in minutes. Empty: 120.",
        kind="number",
        options={"run": "--max-minutes"},
    ),
    Input(
        name="options",
        text="What else the provider wants to know, one NAME=VALUE a line.",
        kind="lines",
        options={"run": "--option"},
    ),
)
TPU_TYPE = Input(
    name="tpu-type",
    text="A TPU without configuration, such as v5litepod-8 or v6e-1.",
    options={"run": "--tpu-type"},
)
GPU_TYPE = Input(
    name="instance-type",
    text="A GPU machine without configuration, such as g5.xlarge or p4d.24xlarge.",
    options={"run": "--instance-type"},
)
PLATFORM = Input(
    name="platform",
    text="Who lends the machine that the suite names, so that the right libraries are installed and it is given back.",
    default="local",
    choices=("local", "gcp", "aws", "ssh"),
    steps=("run", "release"),
)
PUBLISH = Input(
    name="publish",
    text="Who is told, of summary, annotations, comment, check, issue, history, slack, teams.",
    kind="words",
    steps=("report",),
)
TOKEN = Input(
    name="github-token",
    text="The token with which GitHub is asked who may lease, and comments and check runs are written.",
    default=GITHUB_TOKEN,
    steps=("report",),
)
REPORTING = (
    Input(
        name="comment-mode",
        text="What happens to the comment that is there already.",
        default="update",
        choices=("update", "new", "hide-and-new", "delete-and-new", "only-on-failure", "only-on-change"),
        options={"report": "--comment-mode"},
        steps=("report",),
    ),
    Input(
        name="comment-key",
        text="Which of the comments this is.",
        default="tests",
        options={"report": "--comment-key"},
        steps=("report",),
    ),
    Input(
        name="comment-part",
        text="The name of this job's share of the comment. Empty: made of the job's id and what it runs.",
        steps=("report",),
    ),
    Input(
        name="check-name",
        text="The name of the check run.",
        default="ci-runner",
        options={"report": "--check-name"},
        steps=("report",),
    ),
    Input(
        name="base",
        text="The branch to compare with. Empty: the pull request's base, else the branch's own past.",
        options={"report": "--base"},
        steps=("report",),
    ),
    Input(
        name="fail-on",
        text=(
            "When the step is red. failure: whenever not all is green; new: failing tests count only if they are new"
            " against the base; incomplete: only if something could not be tested; never: never, whatever came of it."
        ),
        default="failure",
        choices=("failure", "new", "incomplete", "never"),
        steps=("report",),
    ),
)
ADD_TO_PATH = Input(
    name="add-to-path",
    text="true: put a folder that holds ci-runner alone on the PATH of later steps.",
    default="true",
    kind="flag",
    steps=("setup",),
)
ALREADY_RUN = Input(
    name="already-run",
    text="Suites that have run on this commit, so that no rule selects them again.",
    kind="words",
    options={"plan": "--already-run"},
    steps=("plan",),
)
EXPLAIN = Input(
    name="explain",
    text="true: say for every suite why it runs or not.",
    default="true",
    kind="flag",
    options={"plan": "--explain"},
    steps=("plan",),
)
JOINED = (
    Input(
        name="results",
        text="Run folders, or folders of them as artifacts are unpacked, one a line. Empty: what this job ran.",
        kind="lines",
        steps=("report",),
    ),
    Input(
        name="files",
        text="JUnit files by pattern, one a line; ** stands for any folders, a leading ! leaves files out.",
        kind="lines",
        steps=("report",),
    ),
    Input(
        name="plan",
        text="The saved plan: a part of it that is absent is red.",
        options={"report": "--plan"},
        steps=("report",),
    ),
)
