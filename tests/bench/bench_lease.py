"""Seconds that a machine is paid for beside the tests, ours against the usual steps: python tests/bench/bench_lease.py.

Both lease the same emulated TPU, whose machine is a real sshd here. The rival does what workflows do by hand: create, wait a
fixed time to be sure, clone, make an environment, test, delete. Times that a real cloud takes are a tenth here: the machine
boots for 6 seconds and the rival waits 3, where a workflow says `sleep 30`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

BOOT, WAIT, TEST_SECONDS = 6.0, 3.0, 2.0
SHARE = 0.5  # of the rival's paid seconds beside the tests
NOTICED = 1.0  # seconds from ready to the first thing that is done about it
MACHINES, APART = 8, 1.5  # times the slowest
ZONE = "us-east5-b"
TEST = f"import time\n\ndef test_one():\n    time.sleep({TEST_SECONDS})\n"


@dataclass
class Seen:
    """When the machine had booted, when somebody looked and knew that it was ready, and when it was gone."""

    booted: float = 0.0
    ready: float = 0.0
    gone: float = 0.0

    @property
    def beside(self) -> float:
        """Paid seconds that were no test."""
        return self.gone - self.booted - TEST_SECONDS

    @property
    def late(self) -> float:
        """Seconds for which it was ready and nobody knew."""
        return self.ready - self.booted


def watch(world: Any, seen: Seen, done: threading.Event) -> None:
    """Look at the zones until the one machine has come and gone; a node's state moves when somebody asks for it."""
    while not done.wait(0.01):
        nodes = list(world.nodes.values())
        if not seen.ready and any(node.state == "READY" for node in nodes):
            seen.booted, seen.ready = nodes[0].created + BOOT, time.time()
        if seen.ready and not nodes:
            seen.gone = time.time()
            return


def measured(world: Any, run: Any) -> Seen:
    """What `run` makes of the one machine that it leases."""
    seen, done = Seen(), threading.Event()
    watcher = threading.Thread(target=watch, args=(world, seen, done))
    watcher.start()
    try:
        run()
        watcher.join(10)
    finally:
        done.set()
        watcher.join()
    if not seen.gone:
        raise SystemExit("the machine was never ready, or is still there")
    return seen


def project(folder: Path) -> Path:
    """A repository with one test."""
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "test_one.py").write_text(TEST)
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def ours(where: Path, environ: dict[str, str], home: Path) -> None:
    """One command."""
    words = ["run", "--platform", "gcp", "--tpu-type", "v6e-1", "--test-path", "tests", "--zone", ZONE]
    command = [sys.executable, "-m", "ci_runner", *words]
    whole = {**os.environ, **environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=where, env=whole, check=True, stdout=subprocess.DEVNULL)


def by_hand(where: Path, environ: dict[str, str], home: Path) -> None:
    """The steps of a workflow that nobody has measured."""
    home.mkdir(exist_ok=True)
    key = home / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    user = environ["CI_RUNNER_SSH_USER"]
    base = f"{environ['CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU']}v2/projects/emulated/locations/{ZONE}"
    body = {
        "acceleratorType": "v6e-1",
        "runtimeVersion": "v2-alpha-tpuv6e",
        "metadata": {"ssh-keys": f"{user}:{key.with_suffix('.pub').read_text().strip()}"},
        "networkConfig": {"enableExternalIps": True},
    }
    say("POST", f"{base}/nodes?nodeId=by-hand", body)
    try:
        while (node := say("GET", f"{base}/nodes/by-hand"))[
            "state"
        ] != "READY":  # as the command line tool waits
            time.sleep(1.0)
        time.sleep(WAIT)
        address = node["networkEndpoints"][0]["accessConfig"]["externalIp"]
        insecure = ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR"]
        login = ["ssh", *insecure, "-i", str(key), "-p", environ["CI_RUNNER_SSH_PORT"], f"{user}@{address}"]
        for step in (
            f"git clone -q {where} {home}/code",
            f"cd {home}/code && git checkout -q main",
            f"cd {home}/code && python3 -m venv --system-site-packages --without-pip .venv",
            f"cd {home}/code && python3 -m pytest -q tests",
        ):
            subprocess.run([*login, step], check=True, stdout=subprocess.DEVNULL)
    finally:
        say("DELETE", f"{base}/nodes/by-hand")


def say(method: str, url: str, body: object = None) -> dict[str, Any]:
    """One call of the API, as curl would make it."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        value: dict[str, Any] = json.loads(answer.read() or b"{}")
        return value


def many() -> tuple[float, float]:
    """Seconds until eight machines are there that are asked for at once, and until the slowest of them is."""
    from ci_runner.providers.base import Source
    from ci_runner.providers.gcp_client import Tpus
    from ci_runner.providers.gcp_tpu import TpuProvider
    from ci_runner.providers.ways import Ways
    from ci_runner.remote.fake import FakeShell
    from tests.ec2_kit import fake_keys
    from tests.emulators.tpu.server import Server
    from tests.emulators.tpu.world import World
    from tests.tpu_kit import offer, tpu_lease

    world = World(boot_seconds=BOOT / 2)
    server = Server(world).begin()
    environ = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU": server.url, "GOOGLE_CLOUD_PROJECT": "emulated"}

    def one(number: int) -> float:
        lease = tpu_lease(f"7f3c-unit-{number:06x}")
        ways = Ways(
            keys=fake_keys,
            forget_keys=lambda _lease: None,
            reach=lambda lease, *_, **__: (FakeShell(lease_id=lease.id), ("reached",)),
            shell_of=lambda lease: FakeShell(lease_id=lease.id),
            close=lambda _lease: None,
        )
        begin = time.monotonic()
        provider = TpuProvider(Tpus(environ), ways, environ)
        provider.acquire(lease, offer(), Source(root=str(ROOT), commit=None), seconds=60)
        return time.monotonic() - begin

    try:
        one(99)  # the client library is loaded, and one machine takes so long
        begin = time.monotonic()
        with ThreadPoolExecutor(MACHINES) as pool:
            slowest = max(pool.map(one, range(MACHINES)))
        return time.monotonic() - begin, slowest
    finally:
        server.end()


def main() -> int:
    """Measure, print, and fail over a limit."""
    from tests.tpu_kit import lent_tpus

    results = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        where = project(folder / "project")
        for name, run in (("by hand", by_hand), ("ci-runner", ours)):
            with lent_tpus(folder / f"machines-{run.__name__}", boot_seconds=BOOT) as tpus:
                world, environ = tpus.world, tpus.environ
                home = folder / f"home-{run.__name__}"
                home.mkdir()
                results[name] = measured(
                    world, lambda run=run, environ=environ, home=home: run(where, environ, home)
                )
    for name, seen in results.items():
        print(
            f"{name:<10} {seen.beside:6.2f} s paid beside the tests, ready for {seen.late:5.2f} s before it was known"
        )
    share = results["ci-runner"].beside / results["by hand"].beside
    print(f"share      {share:6.2f}   (limit {SHARE})")
    together, slowest = many()
    print(f"{MACHINES} machines {together:5.2f} s, the slowest alone {slowest:5.2f} s (limit {APART} x)")
    late = results["ci-runner"].late > NOTICED
    return int(share > SHARE or late or together > APART * max(slowest, BOOT / 2))


if __name__ == "__main__":
    sys.exit(main())
