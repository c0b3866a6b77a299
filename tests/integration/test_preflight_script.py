"""The script that looks at a leased machine, run as it is run there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ci_runner.execution.preflight import said
from ci_runner.execution.pytest_suite import ONBOARD


def test_the_script_itself_finds_device_files(tmp_path: Path) -> None:
    for name in ("accel0", "accel1", "nvidia0", "nvidiactl", "null"):
        (tmp_path / name).touch()
    done = subprocess.run(
        [sys.executable, "-I", str(ONBOARD / "preflight.py")],
        env={"CI_RUNNER_DEVICES": str(tmp_path)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    facts = json.loads(done.stdout)
    assert (facts["tpu"], facts["nvidia"]) == (2, 1)
    assert facts["disk_free"] > 0
    assert (
        said({**facts, "python": "3.11", "disk_free": 0})
        == "2 TPU chips, 1 NVIDIA GPU, python 3.11, 0 GiB free"
    )
