"""Environment variables that are no settings: what each one says, for the page about the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

# name → meaning; those that other programs know as well keep their names
READ: Mapping[str, str] = {
    "CI_RUNNER_AWS_REGIONS": (
        "The regions of AWS in which machines of ours may be, with commas or blanks between them. Without it, all that the"
        " account has enabled are asked whenever machines are listed or reaped, or a lease without zones is given back."
    ),
    "CI_RUNNER_SOURCE_CIDR": (
        "The network from which a machine of EC2 lets ssh in, such as `203.0.113.7/32`. The machine's option `source-cidr`"
        " goes before it; without both it is the runner's own address, as the internet sees it."
    ),
    "CI_RUNNER_SSH_USER": "Who logs in to leased machines, instead of the one that their image has.",
    "CI_RUNNER_SSH_PORT": "The port of ssh on leased machines, if it is not 22.",
    "CI_RUNNER_HOME": "The folder in which leases and their keys are kept, if the usual one will not do.",
    "CI_RUNNER_VENV": "In a checkout: the folder of the environment that `scripts/ci-runner` makes (`.venv`).",
    "CI_RUNNER_GROUPS": "In a checkout: the dependency groups in it (`test`).",
    "CI_RUNNER_EXTRAS": "In a checkout: extras in it, besides those that the command needs.",
    "AWS_REGION": "The region if no zones are named; `AWS_DEFAULT_REGION` and AWS's own files count as well.",
    "GOOGLE_CLOUD_PROJECT": (
        "The project of Google Cloud; `CLOUDSDK_CORE_PROJECT`, `GCLOUD_PROJECT` and gcloud's own configuration count as"
        " well."
    ),
    "AWS_ENDPOINT_URL": "Where AWS is; `AWS_ENDPOINT_URL_EC2` and the like for one service.",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU": "Where the TPU API is.",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDQUOTAS": (
        "Where the Cloud Quotas API is. If only the TPU API is somewhere else, `doctor` does not ask for quotas."
    ),
    "STORAGE_EMULATOR_HOST": "Where Google Cloud Storage is.",
    "GITHUB_API_URL": "Where GitHub's API is; a workflow has it from GitHub.",
    "CI_RUNNER_CALL": (
        "In a reusable workflow: a name for this call of it. Machines bear it, and `machines release --github call` asks"
        " for it."
    ),
    "GITHUB_TOKEN": "The token for GitHub's API; `GH_TOKEN` counts as well.",
}
TOLD: Mapping[str, str] = {
    "CI_RUNNER_WORKER": "On a slice: which host of several this is, counted from 0.",
    "CI_RUNNER_WORKERS": "On a slice: how many hosts it has.",
    "CI_RUNNER_LEASE": "The id of the lease; every process of it has this.",
    "CI_RUNNER_JOB": "The job that a process on a machine belongs to.",
}
# between parts of ci-runner, and of its tests; no one else sets or reads them
WITHIN = frozenset(
    {
        "CI_RUNNER_SIDECAR",
        "CI_RUNNER_STACKS",
        "CI_RUNNER_SELECT",
        "CI_RUNNER_COVERAGE",
        "CI_RUNNER_DEVICES",
        "CI_RUNNER_UNKEPT",
    }
)


def environment_lines() -> Iterator[str]:
    """The section of the page."""
    yield "## Environment variables"
    yield ""
    yield "Settings have variables of their own (see above). These say where things are, and are no settings:"
    yield ""
    yield from _table(READ)
    yield ""
    yield "A suite is told:"
    yield ""
    yield from _table(TOLD)


def _table(variables: Mapping[str, str]) -> Iterator[str]:
    yield "| variable | meaning |"
    yield "|---|---|"
    for name, meaning in variables.items():
        yield f"| `{name}` | {meaning} |"
