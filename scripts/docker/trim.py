"""Takes out of the image what no release ever reads: python3 trim.py ENVIRONMENT."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

# botocore brings descriptions of every service of AWS; these are asked, or needed to sign in
SERVICES = {"ec2", "sso", "sso-oidc", "ssm", "sts"}


def main(environment: Path) -> int:
    """Remove the descriptions of the other services."""
    (data,) = environment.glob("lib/python3*/site-packages/botocore/data")
    for folder in sorted(data.iterdir()):
        if folder.is_dir() and folder.name not in SERVICES:
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
