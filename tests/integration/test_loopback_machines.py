"""Machines on loopback, the boot script that makes them ours, and the keys that it brings."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gate.steps import tool

from ci_runner.errors import MachineError
from ci_runner.providers.boot import boot_script
from ci_runner.remote.keys import LeaseKeys, key_folder
from tests.emulators.machines import Machines, user
from tests.job_kit import is_alive, make_lease, until

pytestmark = pytest.mark.needs("sshd")


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    with Machines(tmp_path / "machines") as found:
        yield found


@pytest.fixture
def keys(tmp_path: Path) -> LeaseKeys:
    return LeaseKeys.make(tmp_path / "keys" / "lease", "lease")


def script(keys: LeaseKeys, **more: float) -> str:
    return boot_script(
        make_lease("7f3c-unit-00000a", **more),
        host_private=keys.host_private,
        host_public=keys.host_public,
        public=keys.public,
        user=user(),
        stops="terminate",
    )


def ready(machines: Machines, name: str) -> bool:
    return "ci-runner: ready 7f3c-unit-00000a" in machines.console(name)


def log_in(machines: Machines, name: str, keys: LeaseKeys, *words: str) -> subprocess.CompletedProcess[str]:
    machine = machines[name]
    known = keys.folder / "known"
    known.write_text(f"it {keys.host_public}\n")
    options = ["BatchMode=yes", "StrictHostKeyChecking=yes", "HostKeyAlias=it", f"UserKnownHostsFile={known}"]
    command = ["ssh", "-F", "none", "-i", str(keys.private_path)]
    command += [word for option in options for word in ("-o", option)]
    command += ["-p", str(machine.port), machine.address, *words]

    def attempt() -> subprocess.CompletedProcess[str] | None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        away = any(word in done.stderr for word in ("refused", "reset", "closed"))
        return (
            None if machine.is_running and away else done
        )  # a server that is asked to reload is away a moment

    answer: subprocess.CompletedProcess[str] = until(attempt, "a server that listens")
    return answer


def test_a_machine_boots_with_our_keys_and_an_end(machines: Machines, keys: LeaseKeys) -> None:
    machines.start("one", script(keys))
    until(lambda: ready(machines, "one"), "the boot script")
    assert machines.expires_in("one") == pytest.approx(3600, abs=2)
    done = log_in(machines, "one", keys, "echo", "$HOME")
    assert (done.returncode, done.stdout) == (0, f"{machines['one'].home}\n"), done.stderr
    assert machines["one"].host_key == " ".join(keys.host_public.split()[:2])


def test_the_keys_of_the_cloud_are_authorised(machines: Machines, keys: LeaseKeys) -> None:
    machine = machines.start("one", user_metadata={"ssh-keys": f"{user()}:{keys.public}"})
    done = log_in(machines, "one", keys, "true")
    assert done.returncode == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
    (keys.folder / "host_ed25519.pub").write_text(machine.host_key)
    known = LeaseKeys.read(keys.folder)
    assert known is not None
    assert log_in(machines, "one", known, "true").returncode == 0


def test_a_machine_that_shuts_itself_down_is_off_and_tells(tmp_path: Path, keys: LeaseKeys) -> None:
    off = threading.Event()
    with Machines(tmp_path / "machines", on_shutdown=lambda _name: off.set()) as machines:
        machines.start("one", script(keys))
        until(lambda: ready(machines, "one"), "the boot script")
        log_in(machines, "one", keys, "shutdown", "-h", "now")
        assert off.wait(20)
        assert not machines["one"].is_running
        assert machines["one"].processes() == []


def test_a_machine_that_is_switched_off_leaves_nothing(machines: Machines, keys: LeaseKeys) -> None:
    machines.start("one", script(keys))
    until(lambda: ready(machines, "one"), "the boot script")
    started = log_in(machines, "one", keys, "setsid sleep 300 </dev/null >/dev/null 2>&1 & echo $!")
    pid = int(started.stdout)
    assert is_alive(pid)
    machines.kill("one")
    assert not is_alive(pid)
    assert machines["one"].processes() == []
    assert log_in(machines, "one", keys, "true").returncode == 255
    machines.start("one")
    assert log_in(machines, "one", keys, "true").returncode == 0


def test_machines_have_addresses_of_their_own(machines: Machines) -> None:
    first, second = machines.start("one"), machines.start("two")
    assert first.address != second.address
    assert first.port == second.port
    assert first.host_key != second.host_key
    with pytest.raises(ValueError, match="runs already"):
        machines.start("one")
    machines.remove("two")
    assert not second.folder.exists()


def test_a_second_boot_goes_by_the_clock(machines: Machines, keys: LeaseKeys) -> None:
    """The machine was off for most of its lease: what is left is short, whatever the boot says."""
    lease = make_lease()
    machines.start("one", script(keys, created_at=lease.created_at - 3000, expires_at=lease.created_at + 600))
    until(lambda: ready(machines, "one"), "the boot script")
    assert machines.expires_in("one") == 3600  # a clock that is wrong by an hour would say the same
    machines.stop("one")
    machines.start("one", (machines["one"].folder / "boot.sh").read_text())
    until(lambda: machines.console("one").count("ci-runner: ready") == 2, "the second boot")
    left = machines.expires_in("one")
    assert left is not None
    assert 500 < left <= 600
    keys_there = (machines["one"].home / ".ssh" / "authorized_keys").read_text()
    assert keys_there.count(keys.public) == 1


def test_a_step_that_fails_is_told_and_the_end_is_armed(machines: Machines, keys: LeaseKeys) -> None:
    text = script(keys).replace(f"user={user()}\n", "user=nobody-like-this\n")
    machines.start("one", text)
    until(lambda: "failed: make_user" in machines.console("one"), "the failure")
    assert not ready(machines, "one")
    assert machines.expires_in("one") is not None


def test_keys_are_made_once_and_kept_private(tmp_path: Path) -> None:
    folder = tmp_path / "keys" / "lease"
    made = LeaseKeys.make(folder, "lease")
    assert LeaseKeys.make(folder, "lease") == made
    assert made.public.startswith("ssh-ed25519 ")
    assert made.public.endswith("ci-runner-lease")
    assert made.host_private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert made.public != made.host_public
    assert {path.stat().st_mode & 0o077 for path in (folder, made.private_path)} == {0}
    assert [path.name for path in folder.parent.iterdir()] == ["lease"]
    made.remove()
    made.remove()
    assert LeaseKeys.read(folder) is None


def test_processes_that_make_keys_at_once_have_the_same(tmp_path: Path) -> None:
    folder, found = tmp_path / "keys" / "lease", []
    threads = [
        threading.Thread(target=lambda: found.append(LeaseKeys.make(folder, "lease"))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(found) == 6
    assert len({keys.public for keys in found}) == 1
    assert [path.name for path in folder.parent.iterdir()] == ["lease"]


def test_keys_that_cannot_be_made_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot make keys"):
        LeaseKeys.make(tmp_path / "file" / "lease", "lease")
    (tmp_path / "keys" / "lease").mkdir(parents=True)
    (tmp_path / "keys" / "lease" / "notes.txt").write_text("mine")
    with pytest.raises(MachineError, match="holds something else"):
        LeaseKeys.make(tmp_path / "keys" / "lease", "lease")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="ssh-keygen is not installed") as caught:
        LeaseKeys.make(tmp_path / "other", "lease")
    assert "openssh-client" in str(caught.value.fix)


def test_keys_are_beside_the_leases(tmp_path: Path) -> None:
    assert key_folder({"CI_RUNNER_HOME": str(tmp_path)}, "7f3c") == tmp_path / "keys" / "7f3c"


@pytest.mark.parametrize("stops", ["terminate", "off"])
def test_the_rendered_script_is_clean(keys: LeaseKeys, tmp_path: Path, stops: str) -> None:
    text = boot_script(
        make_lease(),
        host_private=keys.host_private,
        host_public=keys.host_public,
        public=keys.public,
        user="ubuntu",
        stops="terminate" if stops == "terminate" else "off",
    )
    (tmp_path / "boot.sh").write_text(text)
    found = subprocess.run(
        tool("shellcheck", str(tmp_path / "boot.sh")), capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "")
    assert ("deletes it" in text) == (stops == "off")
    assert len(text.encode()) < 8192
