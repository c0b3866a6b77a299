"""Does on a leased machine what the runner asks for over one connection: files, globs, helper commands, jobs.

The program itself comes over the connection, so nothing has to be there but Python 3.9. Requests and answers are a
line of JSON each, followed by as many bytes as its `size` says; many requests are under way at once. When the
connection ends, so do this program and its helper commands; jobs have a supervisor of their own and go on.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import json
import os
import shutil
import signal
import stat
import sys
import tempfile
import threading
import time

TYPE_CHECKING = False  # typing costs a fifth of the start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, BinaryIO

BEGUN = b"\0ci-runner agent\n"  # nothing that a login shell prints on the way looks like it
LEASE_VARIABLE = "CI_RUNNER_LEASE"  # marks every process of a lease, so that what escaped can be found
LOOK_SECONDS = 0.05  # how soon the end of a job is seen
CLAIM_SECONDS = 2.0
CLEAN_SECONDS = 10.0
GLOB_DEPTH = 200  # folders below each other that a glob looks into
UNKNOWN_EXIT = -9  # nothing is known but that the command is dead: it was killed with its supervisor
SUPERVISOR_FLAGS = ("-I", "-S")  # neither the caller's variables nor site-packages reach it

helpers: set[int] = set()  # process groups of helper commands
starting = threading.Lock()


class Refused(Exception):  # noqa: N818 - it is an answer
    """A request that cannot be granted; `code` tells the runner which way."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def glob_parts(pattern: str) -> list[str] | None:
    """The segments of a glob; None for one that means a place outside of the folder it is relative to."""
    if pattern.startswith("/") or "\0" in pattern:
        return None
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    return None if ".." in parts or not parts else parts


def matches_segment(pattern: str, name: str) -> bool:
    """Whether one segment matches one name; a wildcard at the start leaves hidden names out, as in a shell."""
    if name.startswith(".") and not pattern.startswith("."):
        return False
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def walk(
    parts: list[str],
    listing: Callable[[str], Mapping[str, bool]],
    prefix: str = "",
    seen: set[Any] | None = None,
) -> set[str]:
    """The paths that a glob matches in a tree, asked for folder by folder.

    `listing(path)` gives names and whether `**` may enter them: a folder that is no symbolic link.
    """
    seen = set() if seen is None else seen
    key = (prefix, len(parts))
    if key in seen:
        return set()
    seen.add(key)
    first, rest = parts[0], parts[1:]
    found: set[str] = set()
    if prefix.count("/") >= GLOB_DEPTH:
        return found
    if first == "**" and rest:
        found |= walk(rest, listing, prefix, seen)
    for name, enter in listing(prefix).items():
        path = f"{prefix}/{name}" if prefix else name
        if first == "**":
            if name.startswith("."):
                continue
            found |= {path} if not rest else set()
            found |= walk(parts, listing, path, seen) if enter else set()
        elif matches_segment(first, name):
            found |= walk(rest, listing, path, seen) if rest else {path}
    return found


def find(work: str, pattern: str) -> list[str]:
    """Paths that a glob matches in a folder; what a symbolic link leads out of it is not among them."""
    parts = glob_parts(pattern)
    if parts is None:
        return []
    root = os.path.realpath(work)

    def inside(path: str) -> bool:
        real = os.path.realpath(os.path.join(root, path))
        return real == root or real.startswith(root + "/")

    def listing(path: str) -> dict[str, bool]:
        if not inside(path):
            return {}
        try:
            with os.scandir(os.path.join(root, path)) as entries:
                return {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        except OSError:
            return {}  # not a folder, or not ours to look into

    return sorted(path for path in walk(parts, listing) if inside(path))


def read_part(path: str, offset: int, limit: int) -> bytes:
    """Part of a regular file; empty for anything else, such as a pipe that a suite left to make us wait."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    if not stat.S_ISREG(os.fstat(fd).st_mode):  # a folder could not even be opened as a file
        os.close(fd)
        return b""
    with os.fdopen(fd, "rb", buffering=0) as file:
        file.seek(offset)
        return file.read(limit) or b""


def put(path: str, data: bytes, mode: int) -> None:
    """Put a file in place in one step, with its parent folders."""
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=folder, prefix="." + name[:40] + ".")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            os.fchmod(fd, mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def remains(supervise: Any, marker: str, pids: Sequence[int]) -> list[Any]:
    """What is left of a job without supervisor: the command, what descends from it, and what bears the marker."""
    table = supervise.process_table()
    found = {item.pid: item for item in supervise.marked(marker)}
    found.update((item.pid, item) for item in supervise.below(table, pids))
    for pid in pids:  # each of them leads a session, unless the number is somebody else's by now
        if pid in table and table[pid].session == pid and table[pid].state not in "ZX":
            found[pid] = table[pid]
    return list(found.values())


def first_pids(lines: Sequence[bytes]) -> list[int]:
    """The guard's and the command's process ids, as the supervisor said them at the start."""
    for line in lines:
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict) and said.get("started"):
                pids = (said.get("guard"), said.get("pid"))
                return [pid for pid in pids if isinstance(pid, int) and pid > 0]
    return []


def start_time(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None if it is over. With its number it means one process."""
    if sys.platform != "linux":
        try:
            os.kill(pid, 0)
        except OSError:
            return None
        return ""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            words = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if words[0] in (b"Z", b"X") else words[19].decode()


def module(source: bytes, name: str) -> Any:
    """A module from its source."""
    found = type(sys)(name)
    exec(compile(source, name, "exec"), found.__dict__)  # noqa: S102 - the runner's own file
    return found


def hello(request: Mapping[str, Any], _data: bytes) -> dict[str, Any]:
    """Where the lease's folders are; they are made if that is asked for."""
    home = os.environ.get("HOME") or os.path.expanduser("~")
    base = os.path.join(home, ".ci-runner", request["lease"])
    if request["make"]:
        for folder in (
            os.path.dirname(base),
            base,
            os.path.join(base, "work"),
            os.path.join(base, "scratch"),
        ):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
    work = read_part(os.path.join(base, "work-path"), 0, 4096).decode("utf-8", "surrogateescape")
    return {
        "base": base,
        "work": work or os.path.join(base, "work"),
        "scratch": os.path.join(base, "scratch"),
        "there": os.path.isdir(base),
        "python": sys.executable,
        "version": list(sys.version_info[:3]),
    }


def read(request: Mapping[str, Any], _data: bytes) -> tuple[dict[str, Any], bytes]:
    """Part of a file."""
    return {}, read_part(request["path"], request["offset"], request["limit"])


def write(request: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    """A small file in one step."""
    put(request["path"], data, request["mode"])
    return {}


def part(request: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    """A part of a large file at its place; the same part again changes nothing."""
    os.makedirs(os.path.dirname(request["path"]), exist_ok=True)
    fd = os.open(request["path"], os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        view, at = memoryview(data), request["offset"]
        while view:
            done = os.pwrite(fd, view, at)
            view, at = view[done:], at + done
    finally:
        os.close(fd)
    return {}


def place(request: Mapping[str, Any], _data: bytes) -> dict[str, Any]:
    """A large file whose parts are all there, put in place; said twice, it was in place already."""
    try:
        os.chmod(request["parts"], request["mode"])
        os.replace(request["parts"], request["path"])
    except FileNotFoundError:
        if not os.path.exists(request["path"]):
            raise
    return {}


def glob(request: Mapping[str, Any], _data: bytes) -> dict[str, Any]:
    """Paths that a pattern matches."""
    return {"paths": find(request["work"], request["pattern"])}


def run(request: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """A helper command, from its start to its end."""
    import subprocess

    try:
        process = subprocess.Popen(
            request["argv"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=request["cwd"],
            env={**os.environ, LEASE_VARIABLE: request["lease"]},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        text = str(error).encode("utf-8", "replace")
        return {"exit_code": 127, "stdout": 0}, text
    helpers.add(process.pid)
    with process:
        try:
            stdout, stderr = process.communicate(data, timeout=request["seconds"])
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            raise Refused("timeout", "it took too long") from None
        finally:
            helpers.discard(process.pid)
    return {"exit_code": process.returncode, "stdout": len(stdout)}, stdout + stderr


def start(request: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    """A job under its supervisor. The same request again, after a connection that was cut, starts nothing twice."""
    folder = request["folder"]
    for path in (folder, os.path.dirname(request["log"])):
        os.makedirs(path, exist_ok=True)
    known = os.path.join(folder, "supervisor.json")
    with starting:
        try:
            fd = os.open(
                os.path.join(folder, "claim"), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
        except FileExistsError:
            if read_part(os.path.join(folder, "claim"), 0, 200).decode() != request["nonce"]:
                raise Refused("started", "was started already") from None
            limit = time.monotonic() + CLAIM_SECONDS
            while time.monotonic() < limit and not os.path.exists(known):
                time.sleep(LOOK_SECONDS)
            if os.path.exists(known):
                return {}
        else:
            with os.fdopen(fd, "w") as file:
                file.write(request["nonce"])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, "cancel"))
        put(os.path.join(folder, "job.json"), data, 0o600)
        pid = spawn(request)
        document = {"pid": pid, "start": start_time(pid), "at": time.time(), "marker": request["marker"]}
        put(known, json.dumps(document).encode(), 0o600)
    return {}


def spawn(request: Mapping[str, Any]) -> int:
    """A supervisor that has nothing of ours: no terminal, no pipe, no session."""
    import subprocess

    job = os.path.join(request["folder"], "job.json")
    words = [sys.executable, *SUPERVISOR_FLAGS, request["supervise"], job]
    env = {name: value for name, value in os.environ.items() if name not in request["unset"]}
    # Requests to end it wait until it can take them.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    try:
        with open(os.path.join(request["folder"], "supervisor.out"), "wb") as said:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**env, LEASE_VARIABLE: request["lease"]},
                start_new_session=True,
            )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    process.returncode = 0  # it outlives us: nobody is to wait for it, nor to warn of it
    return process.pid


def wait(request: Mapping[str, Any], _data: bytes) -> tuple[dict[str, Any], bytes]:
    """The status of a job, as soon as there is one; empty if that takes longer than the runner wants to wait."""
    folder, limit = request["folder"], time.monotonic() + request["seconds"]
    path, look_at = os.path.join(folder, "status.json"), 0.0
    while True:
        status = read_part(path, 0, 1 << 16)
        if status:
            return {}, status
        now = time.monotonic()
        if now >= look_at:  # the first time and then every second
            look_at = now + 1.0
            if lost(folder):
                status = read_part(path, 0, 1 << 16)
                return {}, status or give_up(request, folder)
        if now >= limit:
            return {}, b""
        time.sleep(max(0.0, min(LOOK_SECONDS, limit - now)))


def supervisor_of(folder: str) -> dict[str, Any] | None:
    """Who watches over the job of a folder; None while it is being started."""
    try:
        found = json.loads(read_part(os.path.join(folder, "supervisor.json"), 0, 1 << 16) or b"null")
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    if not os.path.exists(os.path.join(folder, "claim")):
        raise Refused("never-started", "was never started")
    return None


def lost(folder: str) -> bool:
    """Whether the supervisor of a job is gone."""
    known = supervisor_of(folder)
    return known is not None and start_time(known["pid"]) != known["start"]


def give_up(request: Mapping[str, Any], folder: str) -> bytes:
    """Clean up after a supervisor that died, and write the status that it could not write."""
    known = supervisor_of(folder) or {}
    lines = read_part(os.path.join(folder, "supervisor.out"), 0, 1 << 16).splitlines()
    with open(request["supervise"], "rb") as file:
        supervise = module(file.read(), "supervise")
    pids = first_pids(lines)
    supervise.end_all(lambda: remains(supervise, known["marker"], pids), CLEAN_SECONDS)
    error = None
    if lines and not lines[-1].startswith(b"{"):  # it was not killed but broke, and said why
        error = "the supervisor broke: " + lines[-1].decode("utf-8", "replace")[:300]
    status = {
        "v": 1,
        "exit_code": UNKNOWN_EXIT,
        "supervisor_lost": True,
        "error": error,
        "started_at": known.get("at", 0.0),
        "ended_at": time.time(),
    }
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(folder, ".status.json.spare"))
    data = json.dumps(status).encode()
    put(os.path.join(folder, "status.json"), data, 0o644)
    return data


def cancel(request: Mapping[str, Any], _data: bytes) -> dict[str, Any]:
    """Ask a supervisor for the end of its job, by file and by signal: the file stays, the signal is quick."""
    folder = request["folder"]
    try:
        known = supervisor_of(folder)
    except Refused:
        return {}
    with contextlib.suppress(OSError):
        os.close(os.open(os.path.join(folder, "cancel"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    if known is not None and start_time(known["pid"]) == known["start"]:
        with contextlib.suppress(OSError):
            os.kill(known["pid"], signal.SIGTERM)
    return {}


def end(request: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    """End every process of a lease and remove its folder; the data are the supervisor's source."""
    supervise = module(data, "supervise")
    stuck = supervise.end_all(lambda: supervise.marked(request["marker"]), CLEAN_SECONDS)
    if stuck:
        return {"stuck": [item.pid for item in stuck]}
    base = os.path.join(os.environ.get("HOME") or os.path.expanduser("~"), ".ci-runner", request["lease"])
    if os.path.isdir(base) and not os.path.islink(base):
        for folder, names, _files in os.walk(base):  # tests may have closed some
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    with contextlib.suppress(OSError):
                        os.chmod(path, 0o700)
        shutil.rmtree(base, ignore_errors=True)
    return {"left": os.path.lexists(base)}


OPERATIONS: dict[str, Callable[[Mapping[str, Any], bytes], Any]] = {
    "hello": hello,
    "read": read,
    "write": write,
    "part": part,
    "place": place,
    "glob": glob,
    "run": run,
    "start": start,
    "wait": wait,
    "cancel": cancel,
    "end": end,
}


class Answers:
    """The way back to the runner; one answer at a time."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.lock = threading.Lock()

    def send(self, header: Mapping[str, Any], data: bytes) -> None:
        """One answer; if nobody is there any more, nobody misses it."""
        line = json.dumps({**header, "size": len(data)}).encode() + b"\n"
        with self.lock, contextlib.suppress(OSError):
            self.write(line + data if len(data) < 65536 else line)
            if len(data) >= 65536:
                self.write(data)

    def write(self, data: bytes) -> None:
        """All of the bytes."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]


def answer(answers: Answers, request: Mapping[str, Any], data: bytes) -> None:
    """Do what is asked for, and say how it went."""
    number = request.get("id")
    try:
        found = OPERATIONS[request["op"]](request, data)
        header, body = found if isinstance(found, tuple) else (found, b"")
        answers.send({"id": number, **header}, body)
    except Refused as refused:
        answers.send({"id": number, "refused": refused.code, "text": str(refused)}, b"")
    except OSError as error:
        text = error.strerror or str(error)
        answers.send(
            {"id": number, "refused": "os", "errno": errno.errorcode.get(error.errno or 0), "text": text}, b""
        )
    except Exception as error:  # noqa: BLE001 - it is told to the runner, which raises it
        answers.send({"id": number, "refused": "broken", "text": f"{type(error).__name__}: {error}"}, b"")


def serve(requests: BinaryIO, answers: Answers) -> None:
    """Take requests until the connection ends."""
    while True:
        line = requests.readline()
        if not line.endswith(b"\n"):
            return
        request = json.loads(line)
        data = requests.read(request["size"])
        if len(data) < request["size"]:
            return
        threading.Thread(target=answer, args=(answers, request, data), daemon=True).start()


def main() -> None:
    """Serve on stdin and stdout, which nothing else may use."""
    fd = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.write(fd, BEGUN)
    try:
        serve(sys.stdin.buffer, Answers(fd))
    finally:
        with starting:  # a job that is being started is started
            for group in list(helpers):
                with contextlib.suppress(OSError):
                    os.killpg(group, signal.SIGKILL)
            os._exit(0)


if __name__ == "__main__":
    main()
