"""This machine as a provider: a lease is a fresh folder with the commit in it, and the processes that work there."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ci_runner.errors import MachineError, UsageError
from ci_runner.execution.onboard import supervise
from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers.base import Offer, Source
from ci_runner.providers.leases import ID, LeaseRecord, Owner, check_lease
from ci_runner.providers.staging import stage
from ci_runner.remote.base import Shell
from ci_runner.remote.jobs import LEASE_VARIABLE
from ci_runner.remote.local import LocalShell

RECORD = "lease.json"
ORPHAN_SECONDS = 3600.0  # a folder without a record is being made, or was left by a kill at that instant
END_SECONDS = 10.0
REMOVE_SECONDS = 300.0

log = logging.getLogger(__name__)


def connect(environ: Mapping[str, str]) -> LocalProvider:
    """The provider, as the registry makes it."""
    return LocalProvider(lease_home(environ), environ)


def lease_home(environ: Mapping[str, str]) -> Path:
    """Where leases are kept: outside of any repository, and where this user may write."""
    for base in _bases(environ):
        home = base / "leases"
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if os.access(home, os.W_OK | os.X_OK):
            return home
    return _temporary_home()


def _bases(environ: Mapping[str, str]) -> list[Path]:
    named = environ.get("CI_RUNNER_HOME")
    if named:
        path = Path(named).expanduser().absolute()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot use CI_RUNNER_HOME: {error.strerror}",
                where=named,
                fix="name a folder that can be written",
            ) from error
        return [path]
    if environ.get("GITHUB_ACTIONS") and environ.get("RUNNER_TEMP"):
        return [Path(environ["RUNNER_TEMP"]) / "ci-runner"]
    state = environ.get("XDG_STATE_HOME", "")
    if state.startswith("/"):  # the specification says to ignore a relative one
        return [Path(state) / "ci-runner"]
    home = environ.get("HOME", "")
    return [Path(home, ".local", "state", "ci-runner")] if home.startswith("/") else []


def _temporary_home() -> Path:
    """A folder in the place for temporary files that nobody else can have prepared for us."""
    home = Path(tempfile.gettempdir()) / f"ci-runner-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise MachineError(
            "the folder for leases belongs to somebody else, or others may write there",
            where=str(home),
            fix="set CI_RUNNER_HOME to a folder of your own",
        )
    (home / "leases").mkdir(mode=0o700, exist_ok=True)
    return home / "leases"


class LocalProvider:
    """Leases folders of this machine; all it knows is on disk, so that any other process can take over."""

    def __init__(
        self, home: Path, environ: Mapping[str, str], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._home = home
        self._environ = environ
        self._clock = clock
        self._swept = False
        self._shells: dict[str, LocalShell] = {}
        self._sweeping = threading.Lock()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """`local`."""
        return "local"

    def offers(self, machine: MachineSpec) -> Sequence[Offer]:
        """This machine, for nothing."""
        return (Offer(machine=machine),)

    def acquire(self, lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
        """Make the lease's folder with the source in it; the record comes first. Raises MachineError or UsageError."""
        check_lease(lease)
        with self._sweeping:
            if not self._swept:
                self._swept = True
                self.sweep()
        folder = self._folder(lease)
        record = LeaseRecord.read(folder / RECORD)
        if record is not None and record.lease.state is LeaseState.READY and Path(record.work).is_dir():
            return record.lease
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            record = LeaseRecord(lease=lease, owner=Owner.this_process())
            record.write(folder / RECORD)
            for part in ("work", "scratch"):
                remove_tree(folder / part)
            (folder / "scratch").mkdir(mode=0o700)
        except OSError as error:
            raise MachineError(
                f"cannot make the lease's folder: {error.strerror}", where=str(folder)
            ) from error
        staged = stage(source, folder / "work", seconds=seconds)
        ready = dataclasses.replace(
            lease,
            state=LeaseState.READY,
            address="localhost",
            notes=(*lease.notes, *staged.notes),
            price_per_hour=offer.price_per_hour,
        )
        dataclasses.replace(record, lease=ready, work=staged.work).write(folder / RECORD)
        return ready

    def shell(self, lease: Lease) -> LocalShell:
        """The shell of a ready lease, the same each time. Raises MachineError if the lease is not ready."""
        with self._lock:
            if lease.id not in self._shells:
                folder = self._folder(lease)
                record = LeaseRecord.read(folder / RECORD)
                if record is None or record.lease.state is not LeaseState.READY:
                    raise MachineError(f"lease {lease.id} is not ready", where=str(folder))
                self._shells[lease.id] = LocalShell(
                    lease_id=lease.id,
                    work=record.work,
                    scratch=str(folder / "scratch"),
                    environ=self._environ,
                )
            return self._shells[lease.id]

    def describe(self, lease: Lease) -> LeaseState:
        """What the record says; GONE without one."""
        folder = self._folder(lease)
        record = LeaseRecord.read(folder / RECORD)
        if record is None:
            return LeaseState.RELEASING if folder.exists() else LeaseState.GONE
        return record.lease.state

    def notice(self, _lease: Lease, _shell: Shell) -> str | None:
        """Nobody takes this machine away."""
        return None

    def release(self, lease: Lease) -> None:
        """End every process that bears the lease's mark and remove its folder, the record last.

        Raises MachineError if something cannot be ended or removed; calling again goes on from there.
        """
        folder = self._folder(lease)
        with self._lock:
            self._shells.pop(lease.id, None)
        if not folder.is_dir():
            return
        marker = f"{LEASE_VARIABLE}={lease.id}"
        stuck = supervise.end_all(lambda: supervise.marked(marker), END_SECONDS)
        for part in ("work", "scratch"):
            remove_tree(folder / part)
        remove_tree(folder)
        if stuck:
            pids = " ".join(str(item.pid) for item in stuck)
            raise MachineError(
                f"processes of lease {lease.id} could not be ended",
                where="this machine",
                fix=f"sudo kill -9 {pids}",
            )

    def start(self, lease: Lease) -> None:
        """This machine runs already."""
        raise _no_switch(lease, "started")

    def stop(self, lease: Lease) -> None:
        """Nobody else's machine is stopped."""
        raise _no_switch(lease, "stopped")

    def restart(self, lease: Lease) -> None:
        """Nobody else's machine is restarted."""
        raise _no_switch(lease, "restarted")

    def mark(self, lease: Lease, at: float) -> None:
        """Write the reaper's visit into the record."""
        path = self._folder(lease) / RECORD
        record = LeaseRecord.read(path)
        if record is not None:
            labels = {**record.lease.labels, "reap": str(int(at))}
            dataclasses.replace(record, lease=dataclasses.replace(record.lease, labels=labels)).write(path)

    def leases(self, owner: str | None = None) -> list[Lease]:
        """Every lease that has a record here."""
        found = [record.lease for record in map(LeaseRecord.read, self._records()) if record is not None]
        return [lease for lease in found if owner is None or lease.owner == owner]

    def sweep(self) -> list[Lease]:
        """Release what killed runs left behind, and leases past their time; a lease that somebody holds is let be."""
        swept = []
        for path in self._records():
            record = LeaseRecord.read(path)
            try:
                if record is None:
                    self._sweep_unrecorded(path.parent)
                elif record.is_stale(self._clock()) and record.lease.id == path.parent.name:
                    log.info("releasing lease %s, which a run left behind", record.lease.id)
                    self.release(record.lease)
                    swept.append(record.lease)
            except (MachineError, OSError) as error:
                log.warning("could not release lease %s: %s", path.parent.name, error)
        return swept

    def _sweep_unrecorded(self, folder: Path) -> None:
        if self._clock() - folder.stat().st_mtime > ORPHAN_SECONDS:
            remove_tree(folder)

    def _records(self) -> list[Path]:
        try:
            names = sorted(
                entry.name for entry in os.scandir(self._home) if entry.is_dir(follow_symlinks=False)
            )
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [self._home / name / RECORD for name in names if ID.fullmatch(name)]

    def _folder(self, lease: Lease) -> Path:
        check_lease(lease)
        return self._home / lease.id


def _no_switch(lease: Lease, what: str) -> UsageError:
    fix = f"give it back instead: ci-runner machines release {lease.id}"
    return UsageError(f"lease {lease.id} is on this machine, which is not {what} by ci-runner", fix=fix)


def remove_tree(path: Path) -> None:
    """Remove a folder with all that tests left in it: read-only, too deep for Python, linked to elsewhere.

    Other file systems mounted in it are not entered. Raises MachineError if something stays.
    """
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    words = ["rm", "-rf", *(["--one-file-system"] if sys.platform == "linux" else []), "--", str(path)]
    done = subprocess.run(words, capture_output=True, check=False, timeout=REMOVE_SECONDS)
    if done.returncode != 0:
        _open_up(path)
        done = subprocess.run(words, capture_output=True, check=False, timeout=REMOVE_SECONDS)
    if done.returncode != 0 or os.path.lexists(path):
        shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        lines = done.stderr.decode("utf-8", "replace").splitlines()
        raise MachineError(
            f"cannot remove what the suite left: {lines[0] if lines else 'it came back'}",
            where=str(path),
            fix=f"sudo rm -rf '{path}'",
        )


def _open_up(path: Path) -> None:
    """Let us into folders that tests closed; links are not followed."""
    subprocess.run(
        ["chmod", "-R", "u+rwX", "--", str(path)], capture_output=True, check=False, timeout=REMOVE_SECONDS
    )
