"""The keys of one lease: one pair that we log in with, one that the machine proves itself with before we trust it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ci_runner.errors import MachineError

OURS = "id_ed25519"
MACHINE = "host_ed25519"
SECONDS = 30.0  # ssh-keygen waits for nothing but the kernel's random numbers
INSTALL = "install OpenSSH's client: apt-get install openssh-client"


def key_folder(environ: Mapping[str, str], lease_id: str) -> Path:
    """Where the keys of a lease are: beside the leases of this user, outside of any repository."""
    from ci_runner.providers.local import lease_home  # the machine's own provider is not needed to read keys

    return lease_home(environ).parent / "keys" / lease_id


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseKeys:
    """Two pairs of ed25519 keys that live as long as their lease."""

    folder: Path
    private_path: Path
    public: str  # one line
    host_private: str
    host_public: str  # one line

    @classmethod
    def make(cls, folder: Path, lease_id: str) -> LeaseKeys:
        """The keys in the folder, made if it holds none. Of two processes that make them at once, one adopts.

        Raises MachineError if there is no ssh-keygen, or the folder cannot be written.
        """
        found = cls.read(folder)
        if found is not None:
            return found
        try:
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        except OSError as error:
            raise MachineError(f"cannot make keys: {error.strerror}", where=str(folder)) from error
        try:
            for name in (OURS, MACHINE):
                _generate(fresh / name, f"ci-runner-{lease_id}")
            # All four files appear at once; a folder that somebody has filled meanwhile stays as it is.
            with contextlib.suppress(OSError):
                fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        found = cls.read(folder)
        if found is None:
            raise MachineError(
                "the folder for the keys of a lease holds something else",
                where=str(folder),
                fix=f"rm -r '{folder}'",
            )
        return found

    @classmethod
    def read(cls, folder: Path) -> LeaseKeys | None:
        """The keys that are there; None if they are not all there."""
        try:
            return cls(
                folder=folder,
                private_path=_existing(folder / OURS),
                public=_line(folder / f"{OURS}.pub"),
                host_private=(folder / MACHINE).read_text(),
                host_public=_line(folder / f"{MACHINE}.pub"),
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise MachineError(
                f"cannot read the keys of a lease: {error.strerror}", where=str(folder)
            ) from error

    def remove(self) -> None:
        """Forget the keys; absent is success."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _existing(path: Path) -> Path:
    path.stat()
    return path.absolute()


def _line(path: Path) -> str:
    return path.read_text().strip()


def _generate(path: Path, comment: str) -> None:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=SECONDS
        )
    except FileNotFoundError as error:
        raise MachineError("ssh-keygen is not installed", fix=INSTALL) from error
    except subprocess.TimeoutExpired as error:
        raise MachineError("ssh-keygen did not end in time", where=str(path)) from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise MachineError(f"ssh-keygen failed: {said[-1] if said else done.returncode}", where=str(path))
