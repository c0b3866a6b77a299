"""Says in one line of JSON what a leased machine has, before a suite is blamed for what it lacks."""

import glob
import json
import os
import platform
import shutil
import sys
import time


def count(*patterns):
    # type: (str) -> int
    """How many device files there are."""
    return sum(len(glob.glob(os.path.join(os.environ.get("CI_RUNNER_DEVICES", "/dev"), p))) for p in patterns)


def main():
    # type: () -> None
    """Print the facts."""
    facts = {
        "python": platform.python_version(),
        "clock": time.time(),
        "disk_free": shutil.disk_usage(os.path.dirname(os.path.abspath(__file__))).free,
        # PCI drivers: accel up to v5e, vfio groups since; a machine has one or the other
        "tpu": count("accel[0-9]*") or count("vfio/[0-9]*"),
        "nvidia": count("nvidia[0-9]*"),
    }
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
