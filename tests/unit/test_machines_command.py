"""`ci-runner machines` and `ci-runner reap`: what they print, change and return, with providers in memory."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ci_runner.cli import clouds, machines, reap
from ci_runner.errors import AuthenticationError, CiRunnerError, MachineError, UsageError
from ci_runner.github.job import job_of, mark_of
from ci_runner.history.store import FolderStore
from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers.base import Offer, Provider, Source
from ci_runner.providers.book import Book
from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope
from ci_runner.providers.fake import FakeProvider
from tests.job_kit import make_lease

CONFIG = """
[machines.tpu]
provider = "gcp-tpu"
type = "v6e-1"
zones = ["us-east5-b"]
[machines.gpu]
provider = "aws-ec2"
type = "g5.xlarge"
"""
NAMES = ("local", "gcp-tpu", "aws-ec2", "ssh")


class World:
    """A folder with a configuration, and a provider in memory for every name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clouds = {name: FakeProvider(name=name) for name in NAMES}
        self.missing: dict[str, Exception] = {}
        self.now = time.time()
        self.book = Book(FolderStore(folder / ".ci-runner" / "results"))

    def connect(self, name: str, environ: Mapping[str, str]) -> Provider:
        if name in self.missing:
            raise self.missing[name]
        return self.clouds[name]

    def machine(
        self,
        name: str,
        cloud: str = "gcp-tpu",
        *,
        minutes: float = 30.0,
        mark: float | None = None,
        **more: Any,
    ) -> Lease:
        """A ready machine that expires in so many minutes."""
        type_ = {"gcp-tpu": "v6e-1", "aws-ec2": "g5.xlarge"}.get(cloud)
        machine = MachineSpec(name=cloud, provider=cloud, type=type_)
        labels = {"team": more.pop("team", "core"), "job": more.pop("job", "")}
        lease = make_lease(
            name,
            machine=machine,
            created_at=self.now - 7200.0,
            expires_at=self.now + 60.0 * minutes,
            labels=labels,
            **more,
        )
        self.book.request(lease)
        offer = Offer(machine=machine, zone="us-east5-b", spot=True, price_per_hour=0.6)
        ready = self.clouds[cloud].acquire(lease, offer, Source(root="/", commit=None), seconds=9)
        if mark is not None:
            self.clouds[cloud].mark(lease, self.now - mark)
        return ready

    def reachable(self, name: str, cloud: str = "gcp-tpu", **more: Any) -> Lease:
        """A ready machine that is known where it listens."""
        found = dataclasses.replace(self.machine(name, cloud), **{"address": "10.0.0.7", **more})
        self.clouds[cloud]._leases[name] = found
        return found

    def keys(self, name: str) -> Path:
        """The keys of a lease, as the run that made it left them."""
        folder = self.folder / "state" / "keys" / name
        folder.mkdir(parents=True)
        for file, text in {
            "id_ed25519": "private",
            "id_ed25519.pub": "ssh-ed25519 AAAAours us\n",
            "host_ed25519": "private",
            "host_ed25519.pub": "ssh-ed25519 AAAAhost them\n",
        }.items():
            (folder / file).write_text(text)
        return folder

    def there(self) -> list[str]:
        return sorted(lease.id for cloud in self.clouds.values() for lease in cloud._leases.values())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "ci-runner.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_ACTOR", "ada")
    monkeypatch.setenv("CI_RUNNER_HOME", str(tmp_path / "state"))
    found = World(tmp_path)
    monkeypatch.setattr(clouds, "provider_named", found.connect)
    monkeypatch.setattr(clouds, "PROVIDERS", dict.fromkeys(NAMES, "module"))
    return found


def command(module: Any, *words: str) -> int:
    """Run a command as main does."""
    parser = ArgumentParser()
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(words)))


def silent_aws() -> ProviderError:
    return ProviderError(
        Failure(kind=Kind.AUTH, scope=Scope.PROVIDER, text="the security token is expired"),
        fix="aws sso login",
    )


def test_list(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.machine("7f3c-tpu-00000a", owner="ada", suite="tpu")
    world.machine("7f3c-gpu-00000b", "aws-ec2", owner="bob", suite="gpu", minutes=-90.0)
    assert command(machines, "list") == 0
    assert capsys.readouterr().out.splitlines() == [
        "7f3c-gpu-00000b  aws-ec2  g5.xlarge spot  us-east5-b  ready  bob  gpu  expired 1 h 30 min ago  $0.60/h",
        "7f3c-tpu-00000a  gcp-tpu  v6e-1 spot      us-east5-b  ready  ada  tpu  expires in 30 min       $0.60/h",
    ]
    assert command(machines, "list", "--owner", "Ada") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["7f3c-tpu-00000a"]
    assert command(machines, "list", "--team", "other") == 0
    assert capsys.readouterr().out == "no machines\n"
    assert command(machines, "list", "--provider", "aws-ec2") == 0
    assert "tpu" not in capsys.readouterr().out


def test_list_as_json(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.machine("7f3c-tpu-00000a", mark=10.0, minutes=-1.0)
    assert command(machines, "list", "--format", "json") == 0
    (found,) = json.loads(capsys.readouterr().out)["machines"]
    assert found["lease_id"] == "7f3c-tpu-00000a"
    assert found["expired"] is True
    assert found["team"] == "core"
    assert found["cost_usd"] == pytest.approx(1.2, abs=0.01)
    assert found["marked_at"].endswith("Z")


def test_missing_credentials_of_one_cloud_do_not_hide_the_other(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.machine("7f3c-tpu-00000a")
    world.missing["aws-ec2"] = silent_aws()
    assert command(machines, "list") == 5
    said = capsys.readouterr()
    assert "7f3c-tpu-00000a" in said.out
    assert said.err == (
        "ci-runner: warning: aws-ec2 did not answer: the security token is expired\nfix: aws sso login\n"
    )
    assert command(machines, "list", "--format", "json") == 5
    assert json.loads(capsys.readouterr().out)["unreachable"] == [
        {"provider": "aws-ec2", "error": "the security token is expired", "exit_code": 5}
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthenticationError("who"), 5),
        (MachineError("timeout"), 8),
        (ConnectionResetError(104, "reset"), 8),
        (ModuleNotFoundError("no boto3", name="boto3"), 8),
    ],
)
def test_a_provider_that_fails_is_told_and_decides_the_exit_code(
    world: World, error: Exception, code: int
) -> None:
    world.missing["aws-ec2"] = error
    assert command(machines, "list") == code
    assert command(reap, "--dry-run") == code
    world.missing.clear()
    if isinstance(error, CiRunnerError):
        world.clouds["aws-ec2"].unreachable = error
        assert command(machines, "list") == code


def test_status(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    lease = world.machine("7f3c-tpu-00000a")
    world.clouds["gcp-tpu"].stop(lease)
    assert command(machines, "status", "7f3c-t") == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["state", "stopped"] in lines
    assert ["lease_id", "7f3c-tpu-00000a"] in lines
    assert ["expired", "false"] in lines
    assert command(machines, "status", lease.id, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["price_per_hour_usd"] == 0.0


def test_a_name_must_mean_one_machine(world: World) -> None:
    world.machine("7f3c-tpu-00000a")
    world.machine("7f3c-gpu-00000b", "aws-ec2")
    with pytest.raises(UsageError, match="several leases begin with"):
        command(machines, "status", "7f3c")
    with pytest.raises(UsageError) as caught:
        command(machines, "stop", "7f3c-tpu-00000x")
    assert caught.value.fix == "perhaps you meant: 7f3c-tpu-00000a, 7f3c-gpu-00000b"
    with pytest.raises(UsageError) as caught:
        command(machines, "stop", "zzz")
    assert str(caught.value.fix).startswith("see them all")


def test_a_name_that_a_silent_provider_may_know_is_not_called_unknown(world: World) -> None:
    world.missing["aws-ec2"] = silent_aws()
    with pytest.raises(AuthenticationError, match="silent: aws-ec2"):
        command(machines, "status", "7f3c")
    world.missing["aws-ec2"] = MachineError("timeout")
    with pytest.raises(MachineError, match="silent: aws-ec2"):
        command(machines, "status", "7f3c")


@pytest.mark.parametrize(("action", "state"), [("stop", "stopped"), ("start", "ready"), ("restart", "ready")])
def test_switches(world: World, capsys: pytest.CaptureFixture[str], action: str, state: str) -> None:
    lease = world.machine("7f3c-tpu-00000a")
    assert command(machines, action, lease.id) == 0
    assert capsys.readouterr().out == f"{machines.SWITCHES[action]} {lease.id} ({state})\n"
    assert command(machines, action, lease.id, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"lease_id": lease.id, "state": state}


def test_release(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a-1", "b-2", "c-3"):
        world.machine(name, run_id="20260101-000000-7F3C" if name != "c-3" else "other")
    assert command(machines, "release", "a-1", "never-was") == 0
    assert capsys.readouterr().out.splitlines() == ["gave a-1 back", "nothing is there called never-was"]
    assert command(machines, "release", "--run", "20260101-000000-7f3c", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["machines"] == [
        {"lease_id": "b-2", "result": "released", "error": None}
    ]
    assert world.there() == ["c-3"]
    assert [lease.id for lease in world.book.open()] == ["c-3"]
    assert command(machines, "release", "--run", "gone") == 0
    assert capsys.readouterr().out == "no machine of this run is there\n"
    with pytest.raises(UsageError, match="nothing is named"):
        command(machines, "release")


def test_release_of_a_github_job_and_of_its_workflow_run(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="GITHUB_RUN_ID is not set"):
        command(machines, "release", "--github", "job")
    here = {"GITHUB_RUN_ID": "77", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "tpu", "RUNNER_NAME": "r1"}
    beside = {**here, "RUNNER_NAME": "r2"}
    later = {**here, "GITHUB_RUN_ATTEMPT": "2"}
    for number, environ in enumerate((here, beside, later, {**here, "GITHUB_RUN_ID": "777"}), start=1):
        world.machine(f"a-{number}", job=job_of(environ))
    world.machine("by-hand")
    for name, value in here.items():
        monkeypatch.setenv(name, value)
    assert command(machines, "release", "--github", "job") == 0
    assert world.there() == ["a-2", "a-3", "a-4", "by-hand"]
    assert command(machines, "release", "--github", "workflow") == 0
    assert world.there() == ["a-4", "by-hand"]
    capsys.readouterr()
    assert command(machines, "release", "--github", "job") == 0
    assert capsys.readouterr().out == "no machine of this run is there\n"


def test_release_of_a_call_leaves_what_another_call_of_the_same_run_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"GITHUB_RUN_ID": "77", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "leased", "RUNNER_NAME": "r1"}
    tpu, gpu = {**here, "CI_RUNNER_CALL": "tpu"}, {**here, "CI_RUNNER_CALL": "gpu", "RUNNER_NAME": "r2"}
    marks = (tpu, {**tpu, "GITHUB_RUN_ATTEMPT": "2"}, gpu, here, {**tpu, "GITHUB_RUN_ID": "777"})
    for number, environ in enumerate(marks, start=1):
        world.machine(f"a-{number}", job=mark_of(environ))
    for name, value in {**here, "GITHUB_JOB": "release"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="CI_RUNNER_CALL is not set"):
        command(machines, "release", "--github", "call")
    monkeypatch.setenv("CI_RUNNER_CALL", "tpu")
    assert command(machines, "release", "--github", "call") == 0
    assert world.there() == ["a-3", "a-4", "a-5"]
    assert command(machines, "release", "--github", "workflow") == 0
    assert world.there() == ["a-5"]


def test_release_repeats_and_then_says_that_it_failed(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = world.machine("a-1")
    slept: list[float] = []
    cloud = world.clouds["gcp-tpu"]
    cloud.refused["a-1"] = [MachineError("503"), MachineError("504")]
    assert machines.give_back(cloud, lease, slept.append) is None
    assert slept == [1.0, 2.0]
    world.machine("b-2")
    cloud.refused["b-2"] = [MachineError("503")] * 9
    monkeypatch.setattr(machines, "RELEASE_PAUSE", 0.0)
    assert command(machines, "release", "b-2") == 8
    assert capsys.readouterr().out == "could not give b-2 back: 503\n"
    assert [each.id for each in world.book.open()] == ["a-1", "b-2"]


def test_release_is_sure_only_when_the_machine_is_gone(world: World) -> None:
    class Stubborn(FakeProvider):
        def release(self, lease: Lease) -> None:
            """Do nothing."""

    world.clouds["gcp-tpu"] = Stubborn(name="gcp-tpu")
    lease = world.machine("a-1")
    error = machines.give_back(world.clouds["gcp-tpu"], lease, lambda _seconds: None)
    assert error == "it is still there (ready)"


def test_an_unknown_provider_is_a_usage_error(world: World) -> None:
    with pytest.raises(UsageError) as caught:
        command(machines, "list", "--provider", "gcp-tpus")
    assert str(caught.value.fix).startswith("perhaps you meant gcp-tpu; ")


def test_reap_says_what_it_would_do_exactly(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.machine("a-1", minutes=-10.0, mark=300.0)
    world.machine("b-2", "aws-ec2", minutes=-5.0)
    world.machine("c-3")
    assert command(reap, "--dry-run", "--format", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["lease_id"], each["step"], each["result"]) for each in told["machines"]] == [
        ("b-2", "mark", "would"),
        ("a-1", "delete", "would"),
    ]
    assert (told["listed"], told["kept"], told["deleted"], told["saved_per_hour_usd"]) == (3, 1, 0, 0)
    assert told["machines"][1]["overdue_seconds"] == pytest.approx(600, abs=30)
    assert world.there() == ["a-1", "b-2", "c-3"]
    assert command(reap, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "would be marked" in out
    assert out.endswith("3 machines of ours: 1 to delete, 1 to mark; nothing was changed\n")


def test_reap_marks_and_deletes_and_counts_the_money(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.machine("a-1", minutes=-60.0, mark=300.0)
    world.machine("b-2", minutes=-5.0)
    assert command(reap) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "a-1  gcp-tpu  v6e-1 spot  us-east5-b  someone  expired 1 h ago    $0.60/h  deleted"
    assert out[-1] == (
        "2 machines of ours: 1 deleted, 1 marked for the next visit; saves $0.60 an hour, $14.40 a day;"
        " $0.60 had been spent past their time"
    )
    assert world.there() == ["b-2"]
    assert command(reap) == 0
    assert capsys.readouterr().out == "nothing to do: 1 machine of ours, none past its time\n"


def test_reap_returns_8_when_something_stays(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.machine("a-1", minutes=-60.0, mark=300.0)
    world.clouds["gcp-tpu"].refused["a-1"] = [MachineError("403 no\n::error::x")]
    world.missing["aws-ec2"] = silent_aws()
    assert command(reap) == 8
    out = capsys.readouterr().out
    assert "not deleted: 403 no\\n" in out
    assert "\n::error::" not in out
    assert "1 failed" in out
    world.missing.clear()
    world.clouds["gcp-tpu"].lingering.add("a-1")
    assert command(reap) == 0
    assert "being deleted" in capsys.readouterr().out


def test_the_emergency_stop_needs_yes_and_leaves_a_post_mortem(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    world.machine("a-1")
    world.machine("b-2", "aws-ec2", team="Other Team", owner="x|y")
    world.machine("l-4", "local")
    with pytest.raises(UsageError, match="machines that are in use"):
        command(reap, "--all")
    assert command(reap, "--all", "--dry-run") == 0
    assert not (tmp_path / ".ci-runner" / "post-mortems").exists()
    assert world.there() == ["a-1", "b-2", "l-4"]
    capsys.readouterr()
    assert command(reap, "--all", "--yes", "--team", "other-team") == 0
    assert world.there() == ["a-1", "l-4"]
    out = capsys.readouterr().out
    (file,) = (tmp_path / ".ci-runner" / "post-mortems").iterdir()
    assert out.endswith(f"written down in {file}\n")
    text = file.read_text()
    assert "by ada, machines of team other-team" in text
    assert "| `b-2` | aws-ec2 | g5.xlarge spot | us-east5-b | x&#124;y |" in text
    assert "## What changes" in text
    mine = tmp_path / "mine.md"
    assert command(reap, "--all", "--yes", "--post-mortem", str(mine), "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["post_mortem"] == str(mine)
    assert "`a-1`" in mine.read_text()
    assert world.there() == ["l-4"]
    assert command(reap, "--provider", "local", "--all", "--yes") == 0
    assert world.there() == []


def test_a_post_mortem_that_cannot_be_written_is_told(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    world.machine("a-1")
    (tmp_path / "file").write_text("")
    assert command(reap, "--all", "--yes", "--post-mortem", str(tmp_path / "file" / "x.md")) == 0
    assert "no post-mortem was written" in capsys.readouterr().err
    assert world.there() == []


def test_without_a_configuration_the_emergency_stop_asks_everybody(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "ci-runner.toml").unlink()
    world.machine("a-1")
    world.machine("s-2", "ssh")
    with pytest.raises(UsageError, match="no configuration here"):
        command(reap)
    assert command(reap, "--provider", "all", "--dry-run") == 0
    assert command(reap, "--all", "--yes") == 0
    assert world.there() == []


def test_a_configuration_without_clouds_has_nothing_to_reap(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "ci-runner.toml").write_text('[suites.unit]\ntests = ["tests"]\n')
    assert command(reap) == 0
    assert (
        capsys.readouterr().out == "nothing was looked at: this configuration leases no machine in a cloud\n"
    )
    world.missing = dict.fromkeys(NAMES, MachineError("down"))
    assert command(reap, "--provider", "ssh") == 8
    assert capsys.readouterr().out == "nothing was looked at: no provider answered\n"


def test_what_only_the_book_remembers_is_found_by_the_reaper(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    class Shy(FakeProvider):
        def leases(self, owner: str | None = None) -> list[Lease]:
            return []

    world.clouds["gcp-tpu"] = Shy(name="gcp-tpu")
    world.machine("a-1", minutes=-10.0)
    world.machine("b-2", minutes=-10.0)
    world.clouds["gcp-tpu"]._leases.pop("b-2")
    assert command(reap, "--dry-run") == 0
    assert capsys.readouterr().out.endswith(
        "1 machine of ours: 0 to delete, 1 to mark; nothing was changed\n"
    )
    assert [lease.id for lease in world.book.open()] == ["a-1", "b-2"]
    assert command(reap, "--format", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["lease_id"], each["step"]) for each in told["machines"]] == [("a-1", "mark")]
    assert [lease.id for lease in world.book.open()] == ["a-1"]


def test_unpriced_machines_say_so(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    machine = MachineSpec(name="new", provider="gcp-tpu", type="v9-1")
    lease = make_lease("a-1", machine=machine, created_at=1.0, expires_at=2.0, state=LeaseState.READY)
    world.clouds["gcp-tpu"]._leases["a-1"] = lease
    assert command(machines, "list") == 0
    assert "price unknown" in capsys.readouterr().out
    assert command(reap, "--all", "--yes") == 0
    assert "price unknown" in capsys.readouterr().out


def test_ssh_command(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.reachable("7f3c-tpu-00000a", addresses=("10.0.0.7", "10.0.0.8"))
    folder = world.keys("7f3c-tpu-00000a")
    assert command(machines, "ssh-command", "7f3c-tpu", "--worker", "1") == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[0] == "ssh"
    assert words[-2:] == ["--", "ci-runner@10.0.0.8"]
    assert words[words.index("-i") + 1] == str(folder / "id_ed25519")
    assert "StrictHostKeyChecking=yes" in words
    (known,) = [word.partition("=")[2] for word in words if word.startswith("UserKnownHostsFile=")]
    assert Path(known).read_text() == "ci-runner-7f3c-tpu-00000a ssh-ed25519 AAAAhost\n"
    assert "HostKeyAlias=ci-runner-7f3c-tpu-00000a" in words
    assert command(machines, "ssh-command", "7f3c-tpu", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["argv"][-1] == "ci-runner@10.0.0.7"


def test_ssh_command_knows_user_port_and_key_of_the_lease(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reachable("7f3c-gpu-00000b", "aws-ec2", user="admin", host_key="ssh-ed25519 AAAAsaid it")
    world.keys("7f3c-gpu-00000b")
    monkeypatch.setenv("CI_RUNNER_SSH_PORT", "2222")
    assert command(machines, "ssh-command", "7f3c-gpu") == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[1:3] == ["-p", "2222"]
    assert words[-1] == "admin@10.0.0.7"
    (known,) = [word.partition("=")[2] for word in words if word.startswith("UserKnownHostsFile=")]
    assert Path(known).read_text() == "ci-runner-7f3c-gpu-00000b ssh-ed25519 AAAAsaid\n"


def test_the_user_is_the_one_of_the_machine_that_was_asked_for(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.folder / "ci-runner.toml").write_text(CONFIG + '[machines.gpu.options]\nuser = "ec2-user"\n')
    found = world.reachable("7f3c-gpu-00000b", "aws-ec2")
    world.keys(found.id)
    assert command(machines, "ssh-command", found.id) == 0
    assert capsys.readouterr().out.endswith("ubuntu@10.0.0.7\n")  # as the book says that it was asked for
    stranger = dataclasses.replace(found, id="7f3c-gpu-00000c")
    world.clouds["aws-ec2"]._leases[stranger.id] = stranger
    world.keys(stranger.id)
    assert command(machines, "ssh-command", stranger.id) == 0
    assert capsys.readouterr().out.endswith("ec2-user@10.0.0.7\n")


def test_ssh_command_says_why_it_cannot_be(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.reachable("7f3c-tpu-00000a")
    with pytest.raises(UsageError, match="are not on this machine"):
        command(machines, "ssh-command", "7f3c-tpu")
    world.keys("7f3c-tpu-00000a")
    with pytest.raises(UsageError, match="has no worker 1"):
        command(machines, "ssh-command", "7f3c-tpu", "--worker", "1")
    world.reachable("7f3c-tpu-00000b", address=None)
    with pytest.raises(MachineError, match="nobody knows its address"):
        command(machines, "ssh-command", "7f3c-tpu-00000b")
    world.machine("local-1", "local")
    with pytest.raises(UsageError, match="is on this machine"):
        command(machines, "ssh-command", "local-1")
    world.reachable("pool-1", "ssh", address="rack7")
    assert command(machines, "ssh-command", "pool-1", "--provider", "ssh") == 0
    assert capsys.readouterr().out == "ssh -- rack7\n"


@pytest.mark.parametrize(
    ("name", "user", "says"),
    [("tpu", "ci-runner", "only turns this machine off"), ("gpu", "ubuntu", "terminates")],
)
def test_boot_script(
    world: World, capsys: pytest.CaptureFixture[str], name: str, user: str, says: str
) -> None:
    assert command(machines, "boot-script", name) == 0
    script = capsys.readouterr().out
    assert script.startswith("#!/bin/bash\n")
    assert f"lease=0000-{name}-000000" in script
    assert f"user={user}\n" in script
    assert says in script
    assert "PRIVATE KEY" not in script
    assert command(machines, "boot-script", name, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["script"].startswith("#!/bin/bash\n")
    assert world.there() == []


def test_boot_script_of_what_does_not_boot(world: World) -> None:
    with pytest.raises(UsageError, match="nothing boots"):
        command(machines, "boot-script", "local")
    with pytest.raises(UsageError, match='no machine is called "x"'):
        command(machines, "boot-script", "x")
