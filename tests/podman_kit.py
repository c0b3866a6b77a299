"""The image of guard and reap as tests make it: from the real Dockerfile, on a Debian that debootstrap made here.

podman has its own storage, runtime folder and settings below one folder of the test, so that it meets nobody else's.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from bootstrap.index import index_in_use

from tests.job_kit import until

ROOT = Path(__file__).resolve().parents[1]
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
BASE, IMAGE = "localhost/base:1", "localhost/ci-runner:1"
SECONDS = 300.0
# cgroups of its own are more than a container or a small virtual machine may have
SETTINGS = """\
[containers]
netns = "host"
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
# nothing shared with another podman of this machine, and nobody who lingers for minutes after a command in a container
lock_type = "file"
tmp_dir = "{folder}/tmp"
exit_command_delay = 1
"""
LEFT_OUT = ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists")
ROOM = 2 * 1024**3


@dataclass
class Podman:
    """podman on a folder."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings = self.folder / "containers.conf"
        settings.write_text(SETTINGS.replace("{folder}", str(self.folder)))
        places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
        self.environ = {**os.environ, "CONTAINERS_CONF": str(settings), "PATH": places}

    @property
    def command(self) -> list[str]:
        """How every call begins."""
        return [
            "podman",
            *("--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run")),
            *("--storage-driver", "overlay"),
        ]

    def tried(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One call, however it ends."""
        return subprocess.run(
            [*self.command, *words],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def __call__(self, *words: str) -> str:
        """One call that must succeed; what it prints."""
        done = self.tried(*words)
        assert done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def service(self) -> Iterator[str]:
        """What DOCKER_HOST names while this lasts."""
        socket = self.folder / "podman.sock"
        address = f"unix://{socket}"
        with (self.folder / "service.log").open("wb") as log:
            process = subprocess.Popen(
                [*self.command, "system", "service", "--time=0", address],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            until(lambda: socket.exists() or process.poll() is not None, "podman's service")
            assert process.poll() is None, (self.folder / "service.log").read_text()
            yield address
        finally:
            process.terminate()
            process.wait()

    def remove(self) -> None:
        """Take every container and image away."""
        self.tried("rm", "--all", "--force", "--time=0")
        self.tried("rmi", "--all", "--force")


def base_image(podman: Podman) -> None:
    """A Debian with Python and nothing else, as BASE. The test is left out where that cannot be had."""
    archive = cached_base(podman)
    imported = podman.tried("import", str(archive), BASE)
    if imported.returncode == 0:
        imported = podman.tried("run", "--rm", BASE, "python3", "-c", "import ssl")
    if imported.returncode != 0:
        pytest.skip(f"podman cannot run a container here: {last_line(imported.stderr)}")


def cached_base(podman: Podman) -> Path:
    """The archive that debootstrap has made once on this machine."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ci-runner-tests"
    archive = home / f"{SUITE}-python3-1.tar"
    if archive.is_file():
        return archive
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place_to_work()) as folder:
        target = Path(folder) / "debian"
        words = ["debootstrap", "--variant=minbase", "--include=python3", SUITE, str(target), MIRROR]
        made = subprocess.run(
            words, env=podman.environ, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if made.returncode != 0:
            pytest.skip(f"debootstrap cannot make a Debian here: {last_line(made.stdout + made.stderr)}")
        # whom this machine trusts, an index behind a proxy too
        trusted = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().openssl_cafile
        (target / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(trusted, target / "etc/ssl/certs/ca-certificates.crt")
        (target / "usr/lib/ssl").mkdir(parents=True, exist_ok=True)
        (target / "usr/lib/ssl/cert.pem").symlink_to("/etc/ssl/certs/ca-certificates.crt")
        part = archive.with_suffix(f".{os.getpid()}")
        excluded = [f"--exclude=./{name}" for name in LEFT_OUT]
        subprocess.run(["tar", *excluded, "-C", str(target), "-cf", str(part), "."], check=True)
        part.replace(archive)
    return archive


def place_to_work() -> Path | None:
    """Memory, if it has room and allows programs and devices: it is twice as fast as a disk. Else the usual place."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        return None
    found = os.statvfs(memory)
    forbidding = found.f_flag & (os.ST_NOEXEC | os.ST_NODEV)
    return None if forbidding or found.f_bavail * found.f_frsize < ROOM else memory


def build_image(podman: Podman) -> None:
    """The image, from the Dockerfile as it is, with another base and the index that this machine uses."""
    index = index_in_use(os.environ).url
    arguments = {"BASE": BASE, "PIP_INDEX_URL": index, "UV_DEFAULT_INDEX": index}
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    podman("build", "--pull-never", *words, "--tag", IMAGE, str(ROOT))


def last_line(text: str) -> str:
    """What was said last."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "nothing was said")[:300]
