"""Watches over one job on the machine that runs it: log, time limit, stacks, usage, and nothing left behind.

`python -I -S supervise.py JOB.json [--lifeline FD]`. One file, standard library, Python 3.9 syntax: it is copied to
other machines and runs there detached. On stdout it says one JSON line when the command has started and one when all
is over; the second is also `status.json` in the job's folder. An end of file on the lifeline ends the job.

Three processes on Linux: this one, the guard (its child, in a session of its own) and the command (the guard's
child). A test that kills or stops its parent hits the guard, and the command goes on as this process's child; if this
process is killed, the guard ends the command and everything it started.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # typing costs a fifth of the start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, NoReturn

LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
TAIL_BYTES = 4 << 20  # the end of an overlong log that is kept
CHUNK_BYTES = 1 << 20
STATUS_BYTES = 4096  # set aside for status.json before the command can fill the disk
TICK_SECONDS = 0.25
SAMPLE_SHARE = 100  # a look at everybody's memory may cost one part in so many of the time to the next
SAMPLE_SECONDS = 3.0  # but that comes at last
QUIET_SECONDS = 0.3  # stacks that have not grown for so long are complete
CANCEL_GRACE_SECONDS = 5.0  # GitHub kills 7.5 s after it asks
LIFELINE_GRACE_SECONDS = 1.0
LINGER_SECONDS = 0.2  # helpers such as multiprocessing's resource tracker end by themselves a moment later
LEFTOVER_GRACE_SECONDS = 1.0
INSIST_SECONDS = 10.0
RECENT = 8  # how many of the newest processes a quick look takes in
CHASES = 50  # quick looks between two at the whole process table
START_FAILED = 127

Process = collections.namedtuple("Process", "pid parent group session state start")  # noqa: PYI024


def read_file(path: str) -> bytes:
    """All of a file in /proc; empty if it is gone or not ours to read."""
    parts = []
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        while True:
            part = os.read(fd, 65536)
            if not part:
                break
            parts.append(part)
    except OSError:
        return b""
    finally:
        os.close(fd)
    return b"".join(parts)


def parse_stat(data: bytes) -> Process | None:
    """A line of /proc/PID/stat; the name in it may hold spaces and parentheses."""
    head, _, rest = data.rpartition(b")")
    words = rest.split()
    if len(words) < 20:
        return None
    pid = int(head.split(b" ", 1)[0])
    return Process(pid, int(words[1]), int(words[2]), int(words[3]), words[0].decode(), int(words[19]))


def process(pid: int) -> Process | None:
    """What the kernel says of one process; None if there is none."""
    return parse_stat(read_file(f"/proc/{pid}/stat"))


def process_ids() -> set[int]:
    """The numbers of all processes that can be seen; empty where there is no /proc."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()} if LINUX else set()


def process_table() -> dict[int, Process]:
    """Every process that can be seen."""
    found = map(process, process_ids())
    return {item.pid: item for item in found if item is not None}


def below(table: Mapping[int, Process], roots: Iterable[int]) -> list[Process]:
    """The living processes that descend from the roots, themselves not included."""
    children = collections.defaultdict(list)
    for item in table.values():
        children[item.parent].append(item)
    found, waiting, seen = [], list(roots), set()
    while waiting:
        pid = waiting.pop()
        if pid in seen:
            continue
        seen.add(pid)
        for item in children[pid]:
            waiting.append(item.pid)
            if item.state not in "ZX":
                found.append(item)
    return found


def descendants(root: int) -> list[Process]:
    """Everything alive that a process started, directly or not."""
    return below(process_table(), [root])


def marked(marker: str) -> list[Process]:
    """Processes that started with `NAME=value` in their environment, and what they started; never we nor our parents."""
    needle = b"\0" + marker.encode() + b"\0"
    table = process_table()
    ours, pid = set(), os.getpid()
    while pid in table and pid not in ours:
        ours.add(pid)
        pid = table[pid].parent
    direct = [
        item
        for item in table.values()
        if item.pid not in ours and needle in b"\0" + read_file(f"/proc/{item.pid}/environ") + b"\0"
    ]
    found = {item.pid: item for item in direct if item.state not in "ZX"}
    found.update(
        (item.pid, item) for item in below(table, [item.pid for item in direct]) if item.pid not in ours
    )
    return list(found.values())


def send(target: Process, number: int) -> bool:
    """Signal the process that was seen, and no later one of the same number; False if it is gone or not ours."""
    try:
        if not hasattr(signal, "pidfd_send_signal"):
            os.kill(target.pid, number)
            return True
        fd = os.pidfd_open(target.pid)
    except OSError:
        return False
    try:
        now = process(target.pid)
        if now is None or now.start != target.start:
            return False
        signal.pidfd_send_signal(fd, number)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def send_groups(targets: Iterable[Process], number: int) -> None:
    """Signal whole process groups: one call reaches every member, so that no fork slips through."""
    for group in {item.group for item in targets} - {os.getpgrp()}:
        with contextlib.suppress(OSError):
            os.killpg(group, number)


def newest_children(parent: int) -> list[Process]:
    """Children of a process among the newest processes of all: a look so quick that few can fork and end meanwhile."""
    words = read_file("/proc/loadavg").split()
    last = int(words[4]) if len(words) > 4 else 0
    seen = (process(pid) for pid in range(last + 1, max(1, last - RECENT), -1))
    return [item for item in seen if item is not None and item.parent == parent and item.state not in "ZX"]


def end_all(
    find: Callable[[], list[Process]],
    seconds: float,
    reap: Callable[[], bool] = lambda: True,
    groups: bool = False,
) -> list[Process]:
    """Stop everything that `find` finds until nothing new comes up, kill it, and repeat; what could not be ended.

    `reap` takes note of ended children and says whether there is none left: a look at the process table can miss
    one that forks and ends all the time. `groups` says that the process groups of those found hold nobody else.
    """
    limit = time.monotonic() + seconds
    found, alone = find(), reap()
    while (found or not alone) and time.monotonic() < limit:
        stopped: set[tuple[int, int]] = set()
        fresh = found
        while fresh and time.monotonic() < limit:  # whoever forks faster than we look is stopped in mid-fork
            if groups:
                send_groups(fresh, signal.SIGSTOP)
            for item in fresh:
                send(item, signal.SIGSTOP)
                stopped.add((item.pid, item.start))
            found = find()
            fresh = [item for item in found if (item.pid, item.start) not in stopped]
        if groups:
            send_groups(found, signal.SIGKILL)
        for item in found:
            send(item, signal.SIGKILL)
        alone = reap()
        for _ in range(0 if alone else CHASES):
            for item in newest_children(os.getpid()):
                with contextlib.suppress(OSError):
                    os.kill(item.pid, signal.SIGKILL)
        alone = reap()
        if not alone:
            select.select([], [], [], 0.002)
            alone = reap()
        found = find()
    return found


def prctl(option: int, value: int) -> bool:
    """Set an attribute of this process; False where the kernel does not know it."""
    if not LINUX:
        return False
    import ctypes

    try:
        zero = ctypes.c_ulong(0)
        return bool(ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), zero, zero, zero) == 0)
    except (OSError, AttributeError):
        return False


def rss_bytes(pid: int) -> int:
    """Resident memory of a process, shared pages counted in full."""
    words = read_file(f"/proc/{pid}/statm").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else 0


def pss_bytes(pid: int) -> int:
    """Memory of a process with each shared page divided by its users; resident memory where that is not told."""
    for line in read_file(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return rss_bytes(pid)


class Log:
    """The output of the job: its first part as it comes, and of an overlong one the last part at the end."""

    def __init__(self, path: str, limit: int) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.keep = min(TAIL_BYTES, limit // 2)
        self.room = limit - self.keep
        self.tail = bytearray()
        self.total = 0
        self.dropped = 0
        self.error: str | None = None

    def write(self, data: bytes) -> None:
        """Take output; a disk that is full loses some of it and stops nobody."""
        self.total += len(data)
        if self.room > 0 and self.error is None:
            written = self.append(data[: self.room])
            self.room -= written
            data = data[written:]
        if data:
            self.tail += data
            if len(self.tail) > 2 * self.keep + CHUNK_BYTES:
                self.trim()

    def append(self, data: bytes) -> int:
        """Write what goes into the file; fewer bytes than given means that it took no more."""
        view = memoryview(data)
        done = 0
        while done < len(data):
            try:
                done += os.write(self.fd, view[done:])
            except OSError as error:
                self.error = error.strerror or str(error)
                break
        return done

    def trim(self) -> None:
        """Forget all but the part that is kept."""
        surplus = len(self.tail) - self.keep
        if surplus > 0:
            self.dropped += surplus
            del self.tail[:surplus]

    def close(self) -> None:
        """Write the last part, and before it how much is missing."""
        self.trim()
        reason = f" ({self.error})" if self.error else ""
        tail, self.tail = bytes(self.tail), bytearray()
        if self.dropped:
            self.append(
                b"\n[ci-runner: %d bytes of output are missing here%s]\n" % (self.dropped, reason.encode())
            )
        self.dropped += len(tail) - self.append(tail)
        os.close(self.fd)


class StatusFile:
    """The place of status.json, with room set aside so that a full disk cannot lose it."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, "status.json")
        self.spare = os.path.join(folder, ".status.json.spare")
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self.write_spare(b" " * STATUS_BYTES)

    def write_spare(self, data: bytes) -> bool:
        """Put data into the spare file, over the room that it holds."""
        try:
            fd = os.open(self.spare, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            return False
        try:
            done = os.write(fd, data) == len(data)
            os.ftruncate(fd, len(data))
        except OSError:
            return False
        finally:
            os.close(fd)
        return done

    def write(self, data: bytes, tries: int = 20) -> bool:
        """Put the status in place in one step; a disk that stays full is asked again for two seconds."""
        for number in range(tries):
            if number:
                select.select([], [], [], 0.1)
            try:
                if self.write_spare(data):
                    os.replace(self.spare, self.path)
                    return True
            except OSError:
                continue
        return False


def start_command(job: Mapping[str, Any], output: int, report: int) -> NoReturn:
    """Become the job's command, in a session of its own, with every signal as a fresh process expects it."""
    what = "environment"
    try:
        os.setsid()
        env = environment(job, os.environ)  # first: whatever goes wrong next, the file of secrets is gone
        what = job["cwd"]
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(what)
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            with contextlib.suppress(OSError, ValueError):  # SIGKILL, SIGSTOP, and those the C library keeps
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        what = job["argv"][0]
        os.execvpe(what, list(job["argv"]), env)
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        os.write(report, ("E" + json.dumps(f"{what}: {text}") + "\n").encode())
    os._exit(START_FAILED)


def environment(job: Mapping[str, Any], base: Mapping[str, str]) -> dict[str, str]:
    """The command's environment: the machine's, less `unset`, with `env`."""
    env = {name: value for name, value in base.items() if name not in job.get("unset", ())}
    env.update(job.get("env", {}))
    if job.get("secrets"):
        with open(job["secrets"], encoding="utf-8") as file:
            env.update(json.load(file))
        os.unlink(job["secrets"])
    return env


def guard(job: Mapping[str, Any], supervisor: int, output: int, report: int) -> NoReturn:
    """Be the command's parent: a target for tests that kill theirs, and the one who cleans up if the supervisor dies."""
    me = os.getpid()

    def orphaned(*_args: object) -> None:
        if os.getppid() != supervisor:  # anyone may send the signal; only this makes it true
            end_all(lambda: descendants(me), INSIST_SECONDS, reap_all, groups=True)
            os._exit(0)

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, orphaned)
    os.setsid()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child == 0:
        start_command(job, output, report)
    os.write(report, b"P%d\n" % child)
    for fd in (output, report):
        os.close(fd)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    orphaned()
    while True:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if ended is not None and ended.si_pid == child:
            os._exit(0)  # the supervisor inherits the command and learns how it ended
        if ended is not None:
            os.waitpid(ended.si_pid, 0)


def reap_all() -> bool:
    """Take note of every child that has ended; whether there is none left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


class Supervisor:
    """One job from its start to the end of its last process; an event loop over its output, signals and deadlines."""

    def __init__(self, job: Mapping[str, Any], lifeline: int | None) -> None:
        self.job = job
        self.lifeline = lifeline
        self.lifeline_lost = False
        self.asked_to_stop = False
        self.timed_out = False
        self.error: str | None = None
        self.command = 0
        self.guard = 0
        self.ended: int | None = None  # the command's wait status
        self.childless = False
        self.cpu_seconds = 0.0
        self.peak_bytes = 0
        self.left = 0
        self.stuck = 0
        self.asked: list[int] = []
        self.phase = "running"
        self.deadline = float("inf")
        self.until = float("inf")
        self.tick_at = 0.0
        self.memory_at = 0.0
        self.known = dict.fromkeys(process_ids(), False)  # process id → whether it is the job's
        self.grown: tuple[float, int, int] = (0.0, 0, 0)
        self.answered = False
        self.log = Log(job["log"], job["log_limit_bytes"])
        self.poller = select.poll()
        self.wake_r, wake_w = os.pipe()
        self.log_r = -1
        for fd in (self.wake_r, wake_w):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        self.reaper = prctl(PR_SET_CHILD_SUBREAPER, 1)

    def run(self) -> dict[str, Any]:
        """Run the job; the status as it is written."""
        started = time.time()
        begin = time.monotonic()
        self.launch()
        self.deadline = begin + (self.job.get("timeout_seconds") or float("inf"))
        while self.phase != "over":
            self.wait()
            self.reap()
            self.step(time.monotonic())
        while self.log_r >= 0 and self.pump():
            pass
        self.log.close()
        return self.status(started, time.time())

    def launch(self) -> None:
        """Start the guard and the command, and learn whether the command could be executed."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever started us may have held them back until now
        self.log_r, output = os.pipe()
        report_r, report = os.pipe()
        me = os.getpid()
        pid = os.fork()
        if pid == 0 and LINUX:
            guard(self.job, me, output, report)
        elif pid == 0:
            start_command(self.job, output, report)
        for fd in (output, report):
            os.close(fd)
        self.guard, self.command = (pid, 0) if LINUX else (0, pid)
        with os.fdopen(report_r, "rb") as file:
            for line in file:
                if line.startswith(b"P"):
                    self.command = int(line[1:])
                elif line.startswith(b"E"):
                    self.error = json.loads(line[1:])
        say({"started": True, "pid": self.command, "guard": self.guard})
        if LINUX:
            with contextlib.suppress(ImportError, OSError):
                import fcntl

                fcntl.fcntl(self.log_r, 1031, CHUNK_BYTES)  # F_SETPIPE_SZ: fewer, larger reads
        os.set_blocking(self.log_r, False)
        for source in (self.wake_r, self.log_r, self.lifeline):
            if source is not None:
                self.poller.register(source, select.POLLIN)

    def stop(self, *_args: object) -> None:
        """Take SIGTERM and SIGINT as the wish to end the job."""
        self.asked_to_stop = True

    def wait(self) -> None:
        """Sleep until output, a signal, the end of the lifeline or the next deadline."""
        next_at = min(self.tick_at, self.until, self.deadline if self.phase == "running" else self.until)
        pause = max(0.0, min(next_at - time.monotonic(), TICK_SECONDS * 4))
        for fd, _events in self.poller.poll(int(pause * 1000) + (pause > 0)):
            if fd == self.log_r:
                self.pump()
            elif fd == self.wake_r:
                os.read(fd, 4096)
            elif not os.read(fd, 4096):
                self.lifeline_lost = True
                self.poller.unregister(fd)

    def pump(self) -> bool:
        """Move output into the log; False if there is none now."""
        try:
            data = os.read(self.log_r, CHUNK_BYTES)
        except BlockingIOError:
            return False
        if data:
            self.log.write(data)
        else:
            self.poller.unregister(self.log_r)
            os.close(self.log_r)
            self.log_r = -1
        return bool(data)

    def reap(self) -> bool:
        """Take note of children that ended, and wake the guard if somebody stopped it; whether there is none left."""
        try:
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG | os.WUNTRACED)
                if pid == 0:
                    return False
                if os.WIFSTOPPED(status):
                    if pid == self.guard:
                        os.kill(pid, signal.SIGCONT)
                    continue
                self.cpu_seconds += usage.ru_utime + usage.ru_stime
                if pid != self.guard:
                    self.peak_bytes = max(self.peak_bytes, usage.ru_maxrss * (1024 if LINUX else 1))
                if pid == self.command:
                    self.ended = status
        except ChildProcessError:
            self.childless = True
        return True

    def step(self, now: float) -> None:
        """Do what is due at this moment."""
        if now >= self.tick_at:
            self.tick_at = now + TICK_SECONDS
            if os.path.exists(os.path.join(self.job["folder"], "cancel")):
                self.asked_to_stop = True
            if now >= self.memory_at and self.phase == "running":
                self.sample_memory(now)
        if self.ended is None and not self.childless:
            self.watch(now)
        else:
            self.clear_up(now)

    def watch(self, now: float) -> None:
        """Move along the ladder while the command runs: stacks, then the request to end, then the end."""
        if self.asked_to_stop or self.lifeline_lost:
            grace = min(
                self.job["term_grace_seconds"],
                LIFELINE_GRACE_SECONDS if self.lifeline_lost else CANCEL_GRACE_SECONDS,
            )
            if self.phase in ("running", "stacks"):
                self.terminate(now + grace)
            self.until = min(self.until, now + grace)
        elif self.phase == "running" and now >= self.deadline:
            self.timed_out = True
            self.ask_for_stacks(now)
        if self.phase == "stacks" and (now >= self.until or self.is_quiet(now)):
            self.terminate(now + self.job["term_grace_seconds"])
        if self.phase == "term" and now >= self.until:
            self.insist()

    def clear_up(self, now: float) -> None:
        """End what the command left behind: a moment to go by itself, then a request, then the end."""
        if self.childless if self.reaper else not self.group_lives():
            self.phase = "over"
        elif self.phase not in ("linger", "leftovers"):
            self.phase, self.until = "linger", now + LINGER_SECONDS
        elif now >= self.until and self.phase == "linger":
            if not (self.timed_out or self.asked_to_stop or self.lifeline_lost):
                self.left = len(self.mine())
            self.terminate(now + min(self.job["term_grace_seconds"], LEFTOVER_GRACE_SECONDS))
            self.phase = "leftovers"
        elif now >= self.until:
            self.insist()
            self.phase = "over"

    def mine(self) -> list[Process]:
        """Every living process of the job."""
        return [item for item in descendants(os.getpid()) if item.pid != self.guard]

    def group_lives(self) -> bool:
        """Whether the command's process group has members; all that can be known without /proc."""
        try:
            os.killpg(self.command, 0)
        except OSError:
            return False
        return True

    def signal_all(self, number: int) -> None:
        """Signal every process of the job."""
        if LINUX:
            for item in self.mine():
                send(item, number)
        else:
            with contextlib.suppress(OSError):
                os.killpg(self.command, number)

    def terminate(self, until: float) -> None:
        """Ask every process to end; a stopped one is woken so that it can."""
        self.signal_all(signal.SIGTERM)
        self.signal_all(signal.SIGCONT)
        self.phase, self.until = "term", until

    def insist(self) -> None:
        """End every process of the job, however fast it multiplies."""
        if not LINUX:
            self.signal_all(signal.SIGKILL)
        else:
            stuck = end_all(lambda: descendants(os.getpid()), INSIST_SECONDS, self.reap, groups=True)
            self.stuck = len(stuck) or int(self.reaper and not self.childless)
        self.reap()
        self.phase, self.until = "over" if self.stuck else self.phase, float("inf")

    def ask_for_stacks(self, now: float) -> None:
        """Ask for the stacks of all threads: the processes that the sidecar named, or else the command's group."""
        before = self.sizes()  # the answer may be there before we look again
        if self.job.get("sidecar"):
            alive = {item.pid: item for item in self.mine()}
            for pid, number in stack_sessions(self.job["sidecar"]):
                if pid in alive and send(alive[pid], number):
                    self.asked.append(pid)
        else:
            for item in self.mine():
                forbid_core(item.pid)
            with contextlib.suppress(OSError):
                os.killpg(self.command, signal.SIGQUIT)  # Go and Java answer with every stack
                self.asked.append(self.command)
        self.grown = (now, *before)
        self.phase, self.until = "stacks", now + (self.job["stacks_grace_seconds"] if self.asked else 0.0)
        self.tick_at = now + TICK_SECONDS / 5

    def sizes(self) -> tuple[int, int]:
        """How large the stacks and the log are."""
        try:
            stacks = os.stat(os.path.join(self.job["folder"], "stacks.txt")).st_size
        except OSError:
            stacks = 0
        return stacks, self.log.total

    def is_quiet(self, now: float) -> bool:
        """Whether an answer came and grows no more."""
        sizes = self.sizes()
        if sizes != self.grown[1:]:
            self.grown, self.answered = (now, *sizes), True
        self.tick_at = min(self.tick_at, now + TICK_SECONDS / 5)
        return self.answered and now - self.grown[0] >= QUIET_SECONDS

    def members(self) -> list[int]:
        """The job's processes, by a look that reads only what is new in the process table: descent does not change."""
        pids = process_ids()
        self.known = {pid: ours for pid, ours in self.known.items() if pid in pids}
        fresh = {pid: process(pid) for pid in pids - self.known.keys()}
        roots, before = {os.getpid(), self.guard}, -1
        while len(fresh) != before:
            before = len(fresh)
            for pid, item in list(fresh.items()):
                if item is not None and (item.parent in roots or self.known.get(item.parent)):
                    self.known[pid] = True
                    del fresh[pid]
        self.known.update(dict.fromkeys(fresh, False))
        return [pid for pid, ours in self.known.items() if ours and pid != self.guard]

    def sample_memory(self, now: float) -> None:
        """Look at the memory of all processes together, and the less often the dearer the look."""
        spent = time.process_time()
        pids = self.members()
        most = sum(map(rss_bytes, pids))  # what is shared counts more than once: too high, but cheap
        if most > self.peak_bytes:
            self.peak_bytes = max(self.peak_bytes, sum(map(pss_bytes, pids)))
        self.memory_at = now + min((time.process_time() - spent) * SAMPLE_SHARE, SAMPLE_SECONDS)

    def status(self, started: float, ended: float) -> dict[str, Any]:
        """How it ended, as written to status.json."""
        code = START_FAILED if self.error else -signal.SIGKILL
        if self.ended is not None and not self.error:
            code = os.WEXITSTATUS(self.ended) if os.WIFEXITED(self.ended) else -os.WTERMSIG(self.ended)
        return {
            "v": 1,
            "id": self.job["id"],
            "exit_code": code,
            "timed_out": self.timed_out,
            "cancelled": self.asked_to_stop or self.lifeline_lost,
            "lifeline_lost": self.lifeline_lost,
            "error": self.error,
            "started_at": started,
            "ended_at": ended,
            "cpu_seconds": round(self.cpu_seconds, 6),
            "peak_memory_bytes": self.peak_bytes or None,
            "processes_left": self.left,
            "processes_stuck": self.stuck,
            "stacks_asked": self.asked[:100],
            "log_bytes": self.log.total,
            "log_dropped_bytes": self.log.dropped,
            "log_error": self.log.error,
            "disk_free_bytes": free_bytes(self.job["folder"]),
        }


def free_bytes(folder: str) -> int | None:
    """What is left of the disk for a job; None if nobody can say."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def stack_sessions(path: str) -> list[tuple[int, int]]:
    """The processes, and their signals, that a sidecar file says to answer a request for stacks."""
    found = []
    with contextlib.suppress(OSError), open(path, "rb") as file:
        for line in file:
            if b'"session"' not in line[:400]:
                continue
            try:
                entry = json.loads(line)
                pid, number = int(entry["pid"]), int(entry["stack_signal"] or 0)
            except (ValueError, TypeError, KeyError):
                continue  # foreign text, or a line that is cut off
            if entry.get("event") == "session" and number in signal.valid_signals():
                found.append((pid, number))
    return found


def forbid_core(pid: int) -> None:
    """Keep a process from writing a core file when SIGQUIT ends it."""
    with contextlib.suppress(ImportError, OSError, ValueError, AttributeError):
        import resource

        hard = resource.prlimit(pid, resource.RLIMIT_CORE)[1]
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, hard))


def say(line: Mapping[str, Any]) -> None:
    """One JSON line on stdout; nobody need listen."""
    with contextlib.suppress(OSError):
        os.write(1, (json.dumps(line) + "\n").encode())


def close_on_exec() -> None:
    """Let nothing that we were given reach the command: a file held open there would never end."""
    for fd in range(3, 256) if not LINUX else sorted(map(int, os.listdir("/proc/self/fd"))):
        if fd > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(fd, False)


def main(argv: list[str]) -> int:
    """Run the job that the file describes."""
    with open(argv[0], "rb") as file:
        job = json.load(file)
    close_on_exec()
    lifeline = int(argv[2]) if argv[1:2] == ["--lifeline"] else None
    place = StatusFile(job["folder"])
    try:
        status = Supervisor(job, lifeline).run()
    except OSError as error:
        text, now = f"{error.filename or 'the supervisor'}: {error.strerror or error}", time.time()
        status = {
            "v": 1,
            "id": job["id"],
            "exit_code": START_FAILED,
            "error": text,
            "started_at": now,
            "ended_at": now,
        }
    written = place.write((json.dumps(status, indent=1) + "\n").encode())
    say(status)
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
