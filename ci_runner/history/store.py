"""Where Records are kept: objects that are written once, under keys that nobody can point outside."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from ci_runner.errors import ConfigurationError, ResultsError

MAX_KEY = 900
DEFAULT = ".ci-runner/results"
BRANCH = "branch://ci-runner-history"
BUCKETS = ("s3", "gs")  # schemes of history/objects.py


class Store(Protocol):
    """Objects under keys; every implementation passes tests/contract/test_store_contract.py."""

    def put_new(self, key: str, data: bytes) -> None:
        """Keep an object, whole or not at all; the same bytes again change nothing.

        Raises Conflict if the key holds other bytes, ValueError for a bad key and OSError if it cannot be written.
        """
        ...

    def get(self, key: str) -> bytes:
        """The object. Raises KeyError if there is none and OSError if it cannot be read."""
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with the prefix, in sorted order."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is an object under this key."""
        ...

    def together(self, message: str) -> AbstractContextManager[None]:
        """Everything that is put inside is one commit, where the store has commits."""
        ...


class Conflict(ResultsError):  # noqa: N818 - it is what happened; the name is the field's
    """The key holds other bytes already: Records are immutable."""

    def __init__(self, key: str) -> None:
        super().__init__(
            "the record exists already with other content",
            where=key,
            fix="records are never rewritten; give the new run an id of its own",
        )


def check_key(key: str) -> str:
    """The key if it is safe everywhere: relative, with no empty, `.` or `..` part. Raises ValueError otherwise."""
    parts = key.split("/")
    if (
        not key
        or len(key.encode("utf-8", "surrogatepass")) > MAX_KEY
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise ValueError(f"not a key: {key[:80]!r}")
    if not key.isascii() or not key.isprintable() or "\\" in key or ":" in key:
        raise ValueError(f"not a key: {key[:80]!r}")
    return key


class OneByOne:
    """What stores have in common that keep each object by itself."""

    def together(self, message: str) -> AbstractContextManager[None]:  # noqa: ARG002 - the protocol has it
        """There are no commits."""
        return nullcontext()


class MemoryStore(OneByOne):
    """A store that is gone with the process, for tests and dry runs."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    def put_new(self, key: str, data: bytes) -> None:
        """Keep an object."""
        if self._objects.setdefault(check_key(key), bytes(data)) != data:
            raise Conflict(key)

    def get(self, key: str) -> bytes:
        """The object."""
        return self._objects[check_key(key)]

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys with this prefix."""
        return iter(sorted(key for key in self._objects if key.startswith(prefix)))

    def exists(self, key: str) -> bool:
        """Whether the key is taken."""
        return check_key(key) in self._objects


class FolderStore(OneByOne):
    """A store in a folder; any number of processes may write at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put_new(self, key: str, data: bytes) -> None:
        """Keep an object: written beside its place, flushed to disk, then linked, which fails if the key is taken."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._publish(temporary, path)
            self._sync(path.parent)
        except FileExistsError:
            if path.read_bytes() != data:
                raise Conflict(key) from None
        finally:
            temporary.unlink(missing_ok=True)

    def _publish(self, temporary: Path, path: Path) -> None:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                raise
            # No hard links here (some network and FAT file systems): take the name first, then put the bytes there.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            temporary.replace(path)

    @staticmethod
    def _sync(folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def get(self, key: str) -> bytes:
        """The object."""
        path = self._path(key)
        if not path.is_file():  # nothing there, or a folder, a pipe, a device
            raise KeyError(key)
        return path.read_bytes()

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys with this prefix; half-written files and links to folders are not looked at."""
        folder = prefix.rpartition("/")[0]
        if folder:
            check_key(folder)
        start = self.root / folder
        found = []
        for parent, _, files in os.walk(start, onerror=_unless_absent):
            where = Path(parent).relative_to(self.root).as_posix()
            for name in files:
                key = name if where == "." else f"{where}/{name}"
                if not name.startswith(".") and key.startswith(prefix):
                    found.append(key)
        return iter(sorted(found))

    def exists(self, key: str) -> bool:
        """Whether the key is taken."""
        return self._path(key).is_file()

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)


def _unless_absent(error: OSError) -> None:
    """A folder that is not there holds nothing; one that cannot be read must not look empty."""
    if not isinstance(error, FileNotFoundError):
        raise error


def usual_location(stores: Mapping[str, str], environ: Mapping[str, str]) -> str | None:
    """Where the history is: where the configuration says; in a job with a token, else, on a branch of the repository."""
    configured = stores.get("history")
    in_job = environ.get("GITHUB_ACTIONS") == "true" and environ.get("GITHUB_REPOSITORY")
    if configured is None and in_job and environ.get("GITHUB_TOKEN"):
        return BRANCH
    return configured


def open_store(location: str | None, root: Path, name: str = "history") -> Store:
    """The store at a location of the configuration: a folder, relative to the configuration's own, a bucket, a branch.

    `name` is its key in [stores]; only the history may be a branch. Raises ConfigurationError for a kind of store that
    there is not, or whose library is not installed.
    """
    place = location or DEFAULT
    scheme, separator, rest = place.partition("://")
    if separator and scheme in BUCKETS:
        return _bucket(place, name)
    branches = name == "history"
    if separator and scheme == "branch" and branches:
        return _branch(rest)
    if separator and scheme != "file":
        raise ConfigurationError(
            f'no store is known for "{scheme}://"',
            where=f"stores.{name}",
            fix="name a folder, such as .ci-runner/results, or s3://BUCKET/PREFIX"
            + (", gs://BUCKET/PREFIX or branch://NAME" if branches else " or gs://BUCKET/PREFIX"),
        )
    return FolderStore(root / Path(rest if separator else place).expanduser())


def _branch(name: str) -> Store:
    try:
        from ci_runner.github.client import connect
        from ci_runner.history.branch import BranchStore
    except ImportError as error:
        raise ConfigurationError(
            f"the library for GitHub is missing: {error.name or error}",
            where="stores.history",
            fix='pip install "ci-runner[github]"; in a checkout set CI_RUNNER_EXTRAS=github',
        ) from error
    return BranchStore(connect(os.environ), name)


def _bucket(place: str, name: str) -> Store:
    try:
        from ci_runner.history.objects import open_objects
    except ImportError as error:
        raise ConfigurationError(
            f"a library for {place.partition(':')[0]}:// is missing: {error.name or error}",
            where=f"stores.{name}",
            fix='pip install "ci-runner[stores]"; in a checkout set CI_RUNNER_EXTRAS=stores',
        ) from error
    return open_objects(place, name=name)
