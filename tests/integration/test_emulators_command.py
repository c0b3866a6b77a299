"""`scripts/emulators run -- COMMAND`: emulated clouds for one command, its exit code, and nothing left afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ci_runner.execution.onboard import supervise
from tests.job_kit import until

pytestmark = pytest.mark.needs("sshd")

ROOT = Path(__file__).resolve().parents[2]
EMULATORS = (sys.executable, str(ROOT / "tests" / "emulators"))
SECONDS = 120.0


def emulated(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EMULATORS, *words],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def command(code: str) -> Sequence[str]:
    return (sys.executable, "-c", code)


def left(mark: str) -> list[supervise.Process]:
    return [item for item in supervise.marked(mark) if item.state not in "ZX"]


def test_the_exit_code_is_passed_on_and_the_variables_are_there() -> None:
    code = "import json, os, sys; print(json.dumps(dict(os.environ))); sys.exit(7)"
    done = emulated("run", "--", *command(code))
    assert done.returncode == 7, done.stderr
    environ = json.loads(done.stdout)
    for name in (
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDQUOTAS",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "STORAGE_EMULATOR_HOST",
    ):
        assert environ[name].startswith("http://127.0.0.1:")
    assert environ["GOOGLE_CLOUD_PROJECT"] == "emulated"


def test_a_run_on_a_machine_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    project, place = tmp_path / "project", tmp_path / "tmp"
    (project / "tests").mkdir(parents=True)
    place.mkdir()
    (project / "tests" / "test_a.py").write_text("def test_a(): pass\n")
    words = "run --platform gcp --tpu-type v6e-1 --zone us-east5-b --test-path tests"
    code = (
        "import subprocess, sys; "
        f"words = [sys.executable, '-m', 'ci_runner', *{words!r}.split()]; "
        f"sys.exit(subprocess.call(words, cwd={str(project)!r}))"
    )
    done = emulated(
        "run", "--boot-seconds", "0", "--", *command(code),
        TMPDIR=str(place), CI_RUNNER_HOME=str(tmp_path / "home"), EMULATED=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert left(f"EMULATED={tmp_path}") == []
    assert [path.name for path in place.iterdir() if "emulators" in path.name] == []


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_the_history_may_be_in_an_emulated_bucket(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("def test_a(): pass\n")
    code = (
        "import subprocess, sys; command = [sys.executable, '-m', 'ci_runner']; "
        f"folder = {str(tmp_path)!r}; "
        "subprocess.run([*command, 'run', '--test-path', 'tests', '--upload-results'], cwd=folder, check=True, "
        "stdout=sys.stderr); "
        "sys.exit(subprocess.call([*command, 'history', 'list', '--format', 'json'], cwd=folder))"
    )
    done = emulated(
        "run", "--", *command(code),
        CI_RUNNER_STORES__HISTORY=f"{scheme}://emulated/ci", CI_RUNNER_MACHINES__LOCAL__PYTHON=sys.executable,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_ends_it_ends_the_command_and_the_machines(number: signal.Signals, tmp_path: Path) -> None:
    code = "import sys, threading; open(sys.argv[1], 'w').close(); threading.Event().wait()"
    process = subprocess.Popen(
        [*EMULATORS, "run", "--", *command(code), str(tmp_path / "begun")],
        env={**os.environ, "EMULATED": str(tmp_path), "TMPDIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until((tmp_path / "begun").exists, "the start of the command")
        if number is signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        assert process.wait(timeout=SECONDS) in (128 + number, 1)
    finally:
        process.kill()
    assert left(f"EMULATED={tmp_path}") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [(("run",), "no command to run"), (("run", "--", "/no/such/program"), "cannot run /no/such/program")],
)
def test_mistakes_are_told(words: tuple[str, ...], said: str) -> None:
    done = emulated(*words)
    assert done.returncode in (2, 127)
    assert said in done.stderr


def test_a_missing_server_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import runpy, shutil; "
        "shutil.which = lambda *_a, **_k: None; sys.argv = ['e', 'run', '--', 'true']; "
        f"runpy.run_path({str(ROOT / 'tests' / 'emulators')!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 2
    assert "apt-get install openssh-client openssh-server" in done.stderr


@pytest.mark.needs("gcloud")
def test_gcloud_works_against_it() -> None:
    script = """
set -e
name="gcloud compute tpus tpu-vm"
$name create a1 --zone us-central1-b --accelerator-type v6e-1 --version v2-alpha-tpuv6e --spot
$name list --zone us-central1-b --format 'value(name,state)'
$name describe a1 --zone us-central1-b --format 'value(acceleratorType)'
$name delete a1 --zone us-central1-b --quiet
$name list --zone us-central1-b
"""
    done = emulated("run", "--boot-seconds", "0", "--", "bash", "-c", script)
    assert done.returncode == 0, done.stderr
    assert "a1\tREADY" in done.stdout
    assert "v6e-1" in done.stdout
    assert "Deleted tpu [a1]" in done.stderr


@pytest.mark.needs("aws")
def test_aws_works_against_it() -> None:
    done = emulated("run", "--", "aws", "ec2", "describe-instances", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"Reservations": []}
