"""`ci-runner doctor --print-setup`: what an administrator runs once, for one repository and one environment."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

CLOUDS = ("gcp", "aws")  # of providers/setup_text.py, which is not imported for --help
# option → what it is called among the arguments, and the clouds that it means something to
_OPTIONS = {
    "--repository": ("repository", CLOUDS),
    "--environment": ("environment", CLOUDS),
    "--owner-id": ("owner_id", CLOUDS),
    "--repository-id": ("repository_id", CLOUDS),
    "--history-bucket": ("history_bucket", CLOUDS),
    "--project": ("project", ("gcp",)),
    "--region": ("region", ("aws",)),
}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments that go with --print-setup."""
    group = parser.add_argument_group("setting a cloud up, once")
    group.add_argument(
        "--print-setup",
        choices=CLOUDS,
        metavar="gcp|aws",
        help="print what an administrator runs once so that workflows of a repository may lease machines: a script"
        " for gcloud, or a CloudFormation template; nothing is looked at",
    )
    group.add_argument("--repository", metavar="OWNER/REPO", help="whose workflows may")
    group.add_argument(
        "--environment",
        metavar="NAME",
        help="the environment of the repository that their jobs run in (default: accelerators)",
    )
    group.add_argument(
        "--owner-id",
        metavar="ID",
        help="the owner's number at GitHub; with --repository-id, nobody who takes over the names later may",
    )
    group.add_argument("--repository-id", metavar="ID", help="the repository's number at GitHub")
    group.add_argument("--project", metavar="ID", help="gcp: the project (default: gcloud's own)")
    group.add_argument(
        "--region", metavar="NAME", help="aws: the only region to make machines in (default: any)"
    )
    group.add_argument(
        "--history-bucket", metavar="NAME", help="the bucket of the history, if it is kept in one"
    )


def is_wanted(arguments: Namespace) -> bool:
    """Whether a set-up is to be printed. Raises UsageError for options that mean nothing then."""
    from ci_runner.errors import UsageError

    cloud = arguments.print_setup
    given = [option for option, (name, _) in _OPTIONS.items() if getattr(arguments, name) is not None]
    if cloud is None:
        if given:
            raise UsageError(
                f"{given[0]} means nothing by itself", fix=f"doctor --print-setup gcp or aws {given[0]} …"
            )
        return False
    idle = [option for option in given if cloud not in _OPTIONS[option][1]]
    idle += [option for option in ("--machine", "--config") if getattr(arguments, option[2:])]
    if idle:
        raise UsageError(f"{idle[0]} means nothing to --print-setup {cloud}", fix=f"leave {idle[0]} out")
    if arguments.repository is None:
        raise UsageError(
            "whose workflows may lease machines is not said", fix="--repository OWNER/REPO, as on GitHub"
        )
    return True


def run(arguments: Namespace) -> int:
    """Print the text, as it is or in one object."""
    import json

    from ci_runner.providers import setup_text

    given = {name: getattr(arguments, name) for name, _ in _OPTIONS.values()}
    setup = setup_text.Setup(**{name: value for name, value in given.items() if value is not None})
    cloud = arguments.print_setup
    text = setup_text.aws_template(setup) if cloud == "aws" else setup_text.gcp_script(setup)
    if arguments.format == "json":
        print(
            json.dumps(
                {
                    "cloud": cloud,
                    "repository": setup.repository,
                    "environment": setup.environment,
                    "text": text,
                },
                indent=2,
            )
        )
    else:
        print(text, end="")
    return 0
