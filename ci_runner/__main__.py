"""Lets `python -m ci_runner` do what the `ci-runner` command does."""

import sys

from ci_runner.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
