"""The parts of guard and reap that touch no cloud: inputs as Docker gets them, who to be, what is told."""

from __future__ import annotations

import os
import pwd
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ci_runner.cli import docker_action, docker_user
from ci_runner.cli.docker_table import DOCKER, ENTRIES
from ci_runner.errors import AUTHENTICATION, MACHINE, MachineError, UsageError
from tests.runner_harness import ROOT, read_action

SOMEBODY = 61234
BOTH = {"providers": "gcp-tpu", "scope": "job", "config": "", "aws-regions": ""}


@pytest.mark.parametrize("action", DOCKER.values(), ids=list(DOCKER))
def test_the_file_declares_what_the_code_knows_and_runs_entries_that_the_image_has(action: Any) -> None:
    told = read_action(action.name)
    assert {name: item["default"] for name, item in told["inputs"].items()} == {
        item.name: item.default for item in action.inputs
    }
    assert list(told["outputs"]) == [output.name for output in action.outputs]
    runs = told["runs"]
    assert (runs["using"], runs["image"]) == ("docker", "../../Dockerfile")
    assert (ROOT / "actions" / action.name / runs["image"]).resolve() == ROOT / "Dockerfile"
    entries = {phase: Path(runs[phase]).name for phase in ("entrypoint", "post-entrypoint") if phase in runs}
    assert [ENTRIES[entry] for entry in entries.values()] == [(action.name, step.id) for step in action.steps]
    page = (ROOT / "docs" / "reference" / "actions.md").read_text()
    section = page.partition(f"\n## {action.name}\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)`", section, re.MULTILINE)) == {
        *told["inputs"],
        *told["outputs"],
    }


def test_the_image_links_every_entry_and_pins_its_base() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE=[a-z./-]+:[0-9a-z.-]+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    (names,) = re.findall(r"for name in ([a-z -]+); do", text)
    assert {f"ci-runner-{name}" for name in names.split()} == set(ENTRIES)
    assert "ENTRYPOINT" in text


def test_inputs_lose_their_hyphens_and_nothing_else_does() -> None:
    environ = {"INPUT_DRY-RUN": "true", "INPUT_ALL": "", "A-B": "1"}
    docker_action.with_underscores(environ)
    assert environ == {"INPUT_DRY_RUN": "true", "INPUT_ALL": "", "A-B": "1"}


@pytest.mark.parametrize(
    ("answers", "code", "pauses"),
    [
        ([0], 0, []),
        ([MACHINE, 0], 0, [5.0]),
        ([MACHINE, MACHINE, MACHINE], MACHINE, [5.0, 10.0]),
        ([AUTHENTICATION], AUTHENTICATION, []),
        ([MachineError("gone", fix="wait"), 0], 0, [5.0]),
    ],
)
def test_a_release_is_tried_again_while_that_may_help(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    answers: list[int | MachineError],
    code: int,
    pauses: list[float],
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[str, ...]] = []
    slept: list[float] = []

    def answer(*words: str) -> int:
        asked.append(words)
        found = answers[len(asked) - 1]
        if isinstance(found, MachineError):
            raise found
        return found

    monkeypatch.setattr(docker_action, "command", answer)
    assert docker_action.release(BOTH, slept.append) == code
    assert (len(asked), slept) == (len(answers), pauses)
    assert asked[0] == ("machines", "release", "--github=job", "--provider=gcp-tpu")


def test_an_error_that_stays_is_raised_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    def answer(*_words: str) -> int:
        raise UsageError("no", fix="yes")

    monkeypatch.setattr(docker_action, "command", answer)
    with pytest.raises(UsageError):
        docker_action.release(BOTH, lambda _seconds: pytest.fail("it waited"))


def test_what_a_cloud_says_cannot_command_the_runner() -> None:
    machine = {
        "lease_id": "a\n::set-output name=x::y",
        "provider": "gcp-tpu",
        "type": None,
        "zone": "z",
        "step": "delete",
        "result": "failed",
        "error": "no\r::error::",
    }
    counts = {"listed": 1, "kept": 0, "marked": 0, "deleted": 0, "failed": 1}
    lines = docker_action.told({"machines": [machine], "dry_run": False, **counts})
    assert lines[-1] == "1 machine of ours: 0 kept, 0 marked, 0 deleted, 1 failed"
    assert len(lines) == 2
    assert not [line for line in lines if "\n" in line or "\r" in line or line.startswith("::")]


@pytest.fixture
def not_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As `docker run --user` starts it, whoever runs these tests."""
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_somebody_keeps_the_files_that_can_be_written_and_his_credentials(not_root: Path) -> None:
    output, key, large = not_root / "o", not_root / "key.json", not_root / "large"
    output.write_text("a=1\n")
    key.write_text("{}")
    large.write_bytes(b"x" * (docker_user.LARGEST + 1))
    environ = {
        "GITHUB_OUTPUT": str(output),
        "GITHUB_STEP_SUMMARY": str(not_root / "absent"),
        "GITHUB_STATE": "s",
        "GOOGLE_APPLICATION_CREDENTIALS": str(key),
        "AWS_CONFIG_FILE": str(large),
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(not_root / "absent"),
    }
    entered = docker_user.begin(environ)
    assert environ["HOME"] == environ["RUNNER_TEMP"] == str(entered.folder)
    assert "GITHUB_STATE" not in environ
    assert "GITHUB_STEP_SUMMARY" not in environ
    copy = Path(environ["GOOGLE_APPLICATION_CREDENTIALS"])
    assert copy.parent == entered.folder
    assert (copy.read_text(), copy.stat().st_mode & 0o777) == ("{}", 0o600)
    assert environ["AWS_CONFIG_FILE"] == str(large)
    assert environ["AWS_WEB_IDENTITY_TOKEN_FILE"] == str(not_root / "absent")
    Path(environ["GITHUB_OUTPUT"]).write_text("b=2\n")
    entered.hand_over()
    assert output.read_text() == "a=1\nb=2\n"
    assert not entered.folder.exists()


def test_a_phase_has_the_words_of_its_entry_and_ends_at_a_signal(
    not_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(os, "environ", {})
    heard: list[Sequence[str]] = []

    def phase(words: Sequence[str]) -> int:
        heard.append(words)
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        return 4

    try:
        assert docker_user.run("ci-runner-guard-release", phase) == 4
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [("guard", "release")]
    assert list(not_root.iterdir()) == []


class Ids:
    """What the kernel keeps of a process's user and groups."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, deaf: bool = False) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.now = (0, 0, 0)
        self.deaf = deaf
        monkeypatch.setattr(os, "geteuid", lambda: self.now[0])
        monkeypatch.setattr(os, "setgroups", lambda groups: self.said.append(("groups", *groups)))
        monkeypatch.setattr(os, "setresgid", lambda *ids: self.said.append(("group", *ids)))
        monkeypatch.setattr(os, "setresuid", self.become)
        monkeypatch.setattr(os, "getresuid", lambda: self.now)
        monkeypatch.setattr(os, "getresgid", lambda: self.now)
        monkeypatch.setattr(os, "chown", lambda path, user, group: self.said.append(("owner", user, group)))

    def become(self, *ids: int) -> None:
        """setresuid."""
        self.said.append(("user", *ids))
        if not self.deaf:
            self.now = (ids[0], ids[1], ids[2])


def own(name: str) -> pwd.struct_passwd:
    """The image's own user."""
    assert name == "ci-runner"
    return pwd.struct_passwd((name, "x", 10001, 10001, "", "/", "/"))


def test_root_gives_up_its_groups_first_and_itself_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = Ids(monkeypatch)
    monkeypatch.setattr(pwd, "getpwnam", own)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(docker_user, "account", lambda _environ: (7, 8))
    entered = docker_user.begin({})
    assert ids.said == [("owner", 7, 8), ("groups",), ("group", 8, 8, 8), ("user", 7, 7, 7)]
    entered.hand_over()


def test_who_cannot_give_it_up_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ids(monkeypatch, deaf=True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(docker_user, "account", lambda _environ: (7, 8))
    monkeypatch.setattr(os, "environ", {})
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(PermissionError, match="still root"):
            docker_user.run("ci-runner-reap", lambda _words: pytest.fail("it was done as root"))
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("owners", "found"),
    [
        ({"GITHUB_OUTPUT": (1001, 127)}, (1001, 127)),
        ({"GITHUB_OUTPUT": (1001, 0)}, (1001, 1001)),
        ({"GITHUB_OUTPUT": (0, 0), "GITHUB_WORKSPACE": (1000, 1000)}, (1000, 1000)),
        ({"GITHUB_OUTPUT": (0, 0), "GITHUB_WORKSPACE": (0, 0)}, (10001, 10001)),
        ({"GITHUB_OUTPUT": None}, (10001, 10001)),
    ],
)
def test_the_user_to_be_is_the_runners_unless_that_is_root(
    monkeypatch: pytest.MonkeyPatch,
    owners: dict[str, tuple[int, int] | None],
    found: tuple[int, int],
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", own)

    def stat(path: Path) -> os.stat_result:
        pair = owners.get(path.name, (0, 0))
        if pair is None:
            raise FileNotFoundError(path)
        return os.stat_result((0o100600, 0, 0, 1, *pair, 0, 0, 0, 0))

    monkeypatch.setattr(Path, "stat", stat)
    assert docker_user.account({name: f"/nowhere/{name}" for name in owners}) == found


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_a_file_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    place = tmp_path / "place"
    if kind == "link":
        place.symlink_to(tmp_path / "target")
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    assert docker_user.opened(str(place), "GITHUB_OUTPUT") is None
    assert "warning: GITHUB_OUTPUT" in capsys.readouterr().err


def test_a_pipe_that_somebody_reads_is_no_file_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place"
    os.mkfifo(place)
    reader = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert docker_user.opened(str(place), "GITHUB_OUTPUT") is None
    finally:
        os.close(reader)
    assert "GITHUB_OUTPUT is no file" in capsys.readouterr().err


def test_nothing_is_opened_where_nothing_is_named() -> None:
    assert docker_user.opened("", "GITHUB_OUTPUT") is None
    assert docker_user.content_of("") is None
