"""scripts/ci-runner on a copy of the checkout: a package index on loopback, and a uv that writes down how it was used."""

from __future__ import annotations

import hashlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bootstrap.index import index_in_use
from bootstrap.uvtool import find_uv, kind_of_machine, read_pins

from ci_runner import __version__

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30.0
PYTHON = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
WHEEL = "uv-9.9.9-py3-none-any.whl"
COPIED = ("pyproject.toml", "uv.lock", "README.md", "LICENSE", "scripts/ci-runner", "ci_runner/__init__.py")

# does of uv what setting up needs; $FAKE_UV names its log, an address to ask before it works, and how it fails
FAKE_UV = """#!{python} -IS
import json, os, sys
words = [word for word in sys.argv[1:] if word != "--quiet"]
plan = json.loads(os.environ["FAKE_UV"])
with open(plan["log"], "a") as log:
    log.write(json.dumps(words) + "\\n")
if plan.get("hold") and words[0] == "venv":
    import socket
    with socket.create_connection(("127.0.0.1", plan["hold"])) as held:
        held.sendall(b"GET /hold HTTP/1.0\\r\\n\\r\\n")
        held.recv(1)
if plan.get("fails") and words[0] == plan["fails"][0] and "--offline" not in words:
    sys.exit(plan["fails"][1])
if words[0] == "venv":
    venv = words[-1]
    import shutil
    shutil.rmtree(venv, ignore_errors=True)
    os.makedirs(venv + "/lib/python3.11/site-packages")
    os.mkdir(venv + "/bin")
    os.symlink(sys.executable, venv + "/bin/python")
    open(venv + "/pyvenv.cfg", "w").close()
elif "--editable" in words:
    program = os.environ["UV_PROJECT_ENVIRONMENT"] + "/bin/ci-runner"
    with open(program, "w") as file:
        file.write('#!/bin/sh\\necho "started with $*"\\n')
    os.chmod(program, 0o755)
"""

# leaves an orphan, waits until it is gone, then lets its parent, who has number 1, be told to stop
ORPHANS = """#!{python} -IS
import os, signal, sys
ready, done = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.close(ready)
        os.write(done, str(os.getpid()).encode().ljust(10))
    os._exit(0)
os.wait()
os.close(done)
orphan = int(os.read(ready, 10))
os.read(ready, 1)
for _ in range(10_000_000):
    try:
        os.kill(orphan, 0)
    except ProcessLookupError:
        gone = True
        break
    os.sched_yield()
else:
    gone = False
print(os.getpid(), sys.argv[1], gone, sep="|", flush=True)
sys.stdin.readline()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.kill(1, signal.SIGTERM)
print("got", signal.Signals(signal.sigwait([signal.SIGTERM])).name, flush=True)
sys.exit(41)
"""


@dataclass
class Index:
    """A package index with one project, uv; what is at /hold is only given out after `release`."""

    wheel: bytes
    asked: list[str] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        """Its address as pip and uv want it."""
        return f"http://127.0.0.1:{self.port}/simple"

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """Media type and content of a page."""
        self.asked.append(path)
        if path == "/hold":
            self.arrived.set()
            self.release.wait(SECONDS)
            return "text/plain", b"go"
        if path == "/simple/uv/":
            return "text/html", f'<a href="../../files/{WHEEL}#sha256=0">{WHEEL}</a>'.encode()
        return ("application/zip", self.wheel) if path == f"/files/{WHEEL}" else None


@contextmanager
def serving(index: Index) -> Iterator[Index]:
    """Let the index answer on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = index.answer(self.path)
            if found is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", found[0])
            self.send_header("Content-Length", str(len(found[1])))
            self.end_headers()
            self.wfile.write(found[1])

        def log_message(self, *_: object) -> None:
            """Quiet: what was asked is in the index."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield index
        finally:
            index.release.set()
            server.shutdown()
            thread.join(SECONDS)


@dataclass
class Checkout:
    """A copy of what scripts/ci-runner needs, in a folder with a space in its name, and a home with nothing in it."""

    root: Path
    home: Path
    bin: Path
    log: Path
    environ: dict[str, str]

    @property
    def script(self) -> Path:
        return self.root / "scripts" / "ci-runner"

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def start(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """One start, to its end."""
        return self.start_as(self.script, *words, **environ)

    def start_as(self, script: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """The same by another name of the script."""
        return subprocess.run(
            [str(script), *words],
            cwd=self.home,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    @contextmanager
    def starting(self, **environ: str) -> Iterator[subprocess.Popen[str]]:
        """One start that is under way; it has ended when the block has."""
        with subprocess.Popen(
            [str(self.script), "hello"],
            env=self.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def fake(self, **plan: object) -> dict[str, str]:
        """The variable that tells the uv of the index how to behave."""
        return {"FAKE_UV": json.dumps({"log": str(self.log), **plan})}

    def calls(self) -> list[list[str]]:
        """How uv was used so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def forget(self) -> None:
        """Start the log of uv anew."""
        self.log.unlink(missing_ok=True)

    def kept(self) -> list[Path]:
        """The files in the home folder."""
        return [path for path in self.home.rglob("*") if path.is_file()]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """The index, with the wheel of the uv that writes down how it was used."""
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("uv-9.9.9.data/scripts/uv", FAKE_UV.format(python=PYTHON))
    with serving(Index(path.read_bytes())) as served:
        yield served


@pytest.fixture
def checkout(tmp_path: Path, index: Index) -> Checkout:
    """The copy, whose pins name the wheel of the index; PATH has no uv."""
    root = copied(tmp_path / "a check out")
    wheel = {
        "filename": WHEEL,
        "sha256": hashlib.sha256(index.wheel).hexdigest(),
        "size": len(index.wheel),
        "url": f"https://files.invalid/{WHEEL}",
    }
    pins = {"version": "9.9.9", "wheels": {kind_of_machine(): wheel}}
    (root / "scripts" / "bootstrap" / "uv.json").write_text(json.dumps(pins))
    home, programs = tmp_path / "home", tmp_path / "bin"
    home.mkdir()
    programs.mkdir()
    for name in ("bash", "sh", "cmp", "readlink"):
        (programs / name).symlink_to(str(shutil.which(name)))
    (programs / "python3").symlink_to(PYTHON)
    made = Checkout(root, home, programs, tmp_path / "uv.log", {})
    made.environ = {"PATH": str(programs), "HOME": str(home), "UV_DEFAULT_INDEX": index.url, **made.fake()}
    return made


def copied(root: Path) -> Path:
    """What scripts/ci-runner needs of the checkout."""
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, root / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "scripts" / "bootstrap", root / "scripts" / "bootstrap", ignore=ignored)
    return root


def firsts(calls: list[list[str]]) -> list[str]:
    """The first word of each use of uv."""
    return [words[0] for words in calls]


def closed_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def next_line(process: subprocess.Popen[str]) -> str:
    """The next line on its stderr."""
    assert process.stderr is not None
    assert select.select([process.stderr], [], [], SECONDS)[0], "nothing was said"
    return process.stderr.readline()


@pytest.mark.parametrize("variable", ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"])
def test_the_first_start_fetches_uv_from_the_index_in_use(
    checkout: Checkout, index: Index, variable: str
) -> None:
    del checkout.environ["UV_DEFAULT_INDEX"]
    done = checkout.start("plan", "a b", "--x", **{variable: index.url})
    assert (done.returncode, done.stdout) == (0, "started with plan a b --x\n"), done.stderr
    assert index.asked == ["/simple/uv/", f"/files/{WHEEL}"]
    assert firsts(checkout.calls()) == ["venv", "export", "pip", "pip"]
    export, hashed, editable = checkout.calls()[1:]
    assert export[-3:] == ["--no-default-groups", "--group", "test"]
    assert "--require-hashes" in hashed
    assert "--no-deps" in editable
    assert f"setting up ci-runner {__version__} (once, " in done.stderr


def test_the_second_start_only_reads_the_stamp(checkout: Checkout, index: Index) -> None:
    assert checkout.start().returncode == 0
    checkout.forget()
    index.asked.clear()
    (checkout.bin / "python3").unlink()
    done = checkout.start("again")
    assert (done.returncode, done.stdout, done.stderr) == (0, "started with again\n", "")
    assert checkout.calls() == []
    assert index.asked == []


@pytest.mark.parametrize("damage", ["other bytes", "longer", "shorter", "empty"])
def test_a_wheel_that_is_not_the_pinned_one_is_refused_and_not_kept(
    checkout: Checkout, index: Index, damage: str
) -> None:
    good = index.wheel
    index.wheel = {
        "other bytes": good[:-1] + bytes([good[-1] ^ 1]),
        "longer": good + b"x",
        "shorter": good[:-1],
        "empty": b"",
    }[damage]
    done = checkout.start()
    assert done.returncode == 8
    assert done.stderr.startswith(
        f"ci-runner: error: hash mismatch: {WHEEL} from {index.url.removesuffix('/simple')}/files/"
    )
    assert "\nfix: do not use that index or proxy" in done.stderr
    assert checkout.kept() == []
    assert checkout.calls() == []
    assert not checkout.venv.exists()
    index.wheel = good
    assert checkout.start().returncode == 0


def test_an_index_without_the_wheel_is_named(checkout: Checkout, index: Index) -> None:
    done = checkout.start(UV_DEFAULT_INDEX=index.url.replace("simple", "other"))
    assert done.returncode == 8
    assert "answers 404" in done.stderr
    assert checkout.kept() == []


@pytest.mark.parametrize("by", ["index", "proxy"])
def test_without_a_network_it_says_so_and_what_to_do(checkout: Checkout, by: str) -> None:
    nobody = f"http://127.0.0.1:{closed_port()}"
    environ = {"UV_DEFAULT_INDEX": f"{nobody}/simple"}
    if by == "proxy":
        environ = {"UV_DEFAULT_INDEX": "", "https_proxy": nobody, "http_proxy": nobody}
        checkout.environ.pop("UV_DEFAULT_INDEX")
    done = checkout.start("--version", **environ)
    assert (done.returncode, done.stdout) == (8, "")
    what, fix = done.stderr.splitlines()
    assert what.startswith("ci-runner: error: cannot reach http")
    assert "onnection refused" in what
    assert fix.startswith("fix: connect to a network, or set HTTPS_PROXY, or name a package index")
    assert checkout.kept() == []


def test_without_a_network_the_cache_of_uv_may_have_it_all(checkout: Checkout) -> None:
    done = checkout.start(**checkout.fake(fails=["pip", "error: dns error: failed to lookup address"]))
    assert done.returncode == 8, "the project itself has no cached copy"
    assert "cannot reach http://127.0.0.1" in done.stderr
    assert "dns error" in done.stderr
    hashed = [words for words in checkout.calls() if "--require-hashes" in words]
    assert ["--offline" in words for words in hashed] == [False, True]


def test_a_failure_of_uv_keeps_its_words(checkout: Checkout) -> None:
    done = checkout.start(**checkout.fake(fails=["venv", "error: the moon is full\nreally"]))
    assert done.returncode == 8
    assert "uv failed: error: the moon is full; really" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert checkout.start().returncode == 0


def test_two_starts_at_once_set_up_once(checkout: Checkout, index: Index) -> None:
    held = checkout.fake(hold=index.port)
    with checkout.starting(**held) as first:
        assert index.arrived.wait(SECONDS)
        with checkout.starting(**held) as second:
            assert next_line(second) == f"waiting for another start that is setting up {checkout.venv}\n"
            assert firsts(checkout.calls()) == ["venv"]
            index.release.set()
            for process in (first, second):
                out, err = process.communicate(timeout=SECONDS)
                assert (process.returncode, out) == (0, "started with hello\n"), err
    assert firsts(checkout.calls()) == ["venv", "export", "pip", "pip"]


def test_a_start_that_was_killed_is_made_good_by_the_next_one(checkout: Checkout, index: Index) -> None:
    with checkout.starting(**checkout.fake(hold=index.port)) as process:
        assert index.arrived.wait(SECONDS)
        process.kill()
        process.wait(SECONDS)
    index.release.set()
    done = checkout.start("mended", CI_RUNNER_GROUPS="")
    assert (done.returncode, done.stdout) == (0, "started with mended\n"), done.stderr
    calls = checkout.calls()
    assert firsts(calls) == ["venv", "venv", "export", "pip", "pip"]
    assert "--clear" in calls[1]
    assert "test" in calls[2], "what the killed start was to install is installed too"


def test_sigterm_ends_uv_and_the_start(checkout: Checkout, index: Index) -> None:
    with checkout.starting(**checkout.fake(hold=index.port)) as process:
        assert index.arrived.wait(SECONDS)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert "cancelled while setting up; the next start finishes it" in err
    assert checkout.start().returncode == 0


@pytest.mark.parametrize("name", ["uv.lock", "pyproject.toml"])
def test_another_lock_or_project_updates_the_environment_once(checkout: Checkout, name: str) -> None:
    assert checkout.start().returncode == 0
    checkout.forget()
    with (checkout.root / name).open("a") as file:
        file.write("# changed\n")
    assert checkout.start().returncode == 0
    assert firsts(checkout.calls()) == ["export", "pip", "pip"]
    checkout.forget()
    assert checkout.start().returncode == 0
    assert checkout.calls() == []


def test_groups_and_extras_add_up(checkout: Checkout) -> None:
    assert checkout.start("kpi").returncode == 0
    assert checkout.start(CI_RUNNER_GROUPS="dev").returncode == 0
    exports = [words for words in checkout.calls() if words[0] == "export"]
    assert exports[0][-4:] == ["--group", "test", "--extra", "stats"]
    assert exports[1][-6:] == ["--group", "dev", "--group", "test", "--extra", "stats"]
    checkout.forget()
    assert checkout.start("--verbose", "kpi").returncode == 0
    assert checkout.start("plan", CI_RUNNER_GROUPS="").returncode == 0
    assert checkout.calls() == []
    assert checkout.start(CI_RUNNER_GROUPS="all", CI_RUNNER_EXTRAS="all").returncode == 0
    assert {"--all-groups", "--all-extras"} <= set(checkout.calls()[0])


def test_packages_that_someone_else_added_are_noticed(checkout: Checkout) -> None:
    assert checkout.start().returncode == 0
    checkout.forget()
    stamp = checkout.venv / "ci-runner-stamp" / "wanted"
    os.utime(stamp, (1, 1))
    assert checkout.start().returncode == 0
    assert firsts(checkout.calls()) == ["export", "pip", "pip"]


def test_a_checkout_that_was_moved_gets_a_new_environment(checkout: Checkout) -> None:
    assert checkout.start().returncode == 0
    checkout.forget()
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    done = checkout.start("here")
    assert (done.returncode, done.stdout) == (0, "started with here\n"), done.stderr
    assert firsts(checkout.calls()) == ["venv", "export", "pip", "pip"]


def test_the_script_works_through_links(checkout: Checkout, tmp_path: Path) -> None:
    absolute, relative = tmp_path / "to it", checkout.root / "relative"
    absolute.symlink_to(checkout.script)
    relative.symlink_to("scripts/ci-runner")
    chained = tmp_path / "chain"
    chained.symlink_to(relative)
    for link in (absolute, relative, chained):
        done = checkout.start_as(link, "linked")
        assert (done.returncode, done.stdout) == (0, "started with linked\n"), done.stderr
    assert firsts(checkout.calls()) == ["venv", "export", "pip", "pip"]


@pytest.mark.parametrize("name", ["--index-url=http://evil", "a;b", "-e", "../up"])
def test_a_name_that_is_none_never_reaches_uv(checkout: Checkout, name: str) -> None:
    done = checkout.start(CI_RUNNER_GROUPS=name)
    assert done.returncode == 2
    assert "is no name of a dependency group or extra (CI_RUNNER_GROUPS)" in done.stderr
    assert checkout.calls() == []


def test_a_folder_that_is_no_environment_is_left_alone(checkout: Checkout) -> None:
    treasure = checkout.venv / "treasure"
    checkout.venv.mkdir()
    treasure.write_text("gold")
    done = checkout.start()
    assert done.returncode == 2
    assert f"{checkout.venv} exists and is no virtual environment" in done.stderr
    assert treasure.read_text() == "gold"
    done = checkout.start(CI_RUNNER_VENV="elsewhere")
    assert (done.returncode, (checkout.root / "elsewhere" / "pyvenv.cfg").is_file()) == (0, True)


def test_without_python_it_says_what_to_install(checkout: Checkout) -> None:
    (checkout.bin / "python3").unlink()
    done = checkout.start()
    assert done.returncode == 8
    assert "python3 was not found on PATH" in done.stderr
    assert "apt-get install python3" in done.stderr


def test_an_old_python_is_passed_over_for_a_newer_one(checkout: Checkout) -> None:
    (checkout.bin / "python3").unlink()
    (checkout.bin / "python3.12").symlink_to(PYTHON)
    old = checkout.bin / "python3"
    old.write_text('#!/bin/sh\ncase "$2" in "") exit 0 ;; esac\nexit 1\n')
    old.chmod(0o755)
    assert checkout.start().returncode == 0
    (checkout.bin / "python3.12").unlink()
    shutil.rmtree(checkout.venv)
    assert checkout.start().returncode == 1, "an old Python is asked to say itself what is wrong"


def test_certificates_that_are_none_are_named(checkout: Checkout, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("no certificate")
    done = checkout.start(PIP_CERT=str(rubbish))
    assert done.returncode == 8
    assert f"PIP_CERT names {rubbish}, which holds no certificates" in done.stderr


def test_as_the_first_process_it_buries_orphans_and_passes_signals_on(checkout: Checkout) -> None:
    """As number 1 of its own process namespace, the way a container without an init starts it."""
    apart = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("making a process namespace needs root")
    assert checkout.start().returncode == 0
    (checkout.venv / "bin" / "ci-runner").write_text(ORPHANS.format(python=PYTHON))
    with subprocess.Popen(
        [*apart, str(checkout.script), "hello there"], env=checkout.environ | {"PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        number, word, ended = process.stdout.readline().rstrip("\n").split("|")
        assert int(number) > 1
        assert word == "hello there"
        assert ended == "True", "the orphan is still in the process table"
        process.stdin.write("go\n")
        process.stdin.close()
        assert process.stdout.read() == "got SIGTERM\n"
        assert process.wait(SECONDS) == 41


def real_environment() -> Mapping[str, str]:
    """The caller's variables, offline, with the caller's caches: what a machine has that was set up once."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CI_RUNNER_")}
    uv = find_uv(environ, index_in_use(environ), read_pins())
    environ["PATH"] = os.pathsep.join([str(uv.parent), environ["PATH"]])
    return environ | {"UV_OFFLINE": "1", "CI_RUNNER_GROUPS": ""}


def test_the_real_uv_sets_up_the_real_project_offline_from_a_warm_cache(tmp_path: Path) -> None:
    root = copied(tmp_path / "real check out")
    shutil.copytree(
        ROOT / "ci_runner",
        root / "ci_runner",
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for _ in range(2):
        done = subprocess.run(
            [str(root / "scripts" / "ci-runner"), "--version"],
            env=real_environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, f"ci-runner {__version__}\n"), done.stderr
    assert done.stderr == "", "the second start had nothing to say"
