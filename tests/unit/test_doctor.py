"""`ci-runner doctor`: every check ok, warning or failed, with a fix, and an exit code that says what a run would say."""

from __future__ import annotations

import email.utils
import json
import shutil
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from ci_runner.cli import doctor
from ci_runner.cli import doctor_checks as checks
from ci_runner.config.settings import Settings
from ci_runner.errors import AuthenticationError, ConfigurationError, MachineError, QuotaError, UsageError
from ci_runner.history.chunks import keep
from ci_runner.history.store import FolderStore
from ci_runner.model import Lease, MachineSpec, Suite
from ci_runner.providers.base import Offer, Provider
from ci_runner.providers.book import Book
from ci_runner.providers.checkup import Check, Examines, Health
from ci_runner.providers.fake import FakeProvider
from tests.job_kit import make_lease

CONFIG = """
[machines.tpu]
provider = "gcp-tpu"
type = "v6e-1"
zones = ["us-central1-b", "us-east5-b"]
spot = "prefer"
[suites.unit]
tests = ["tests"]
[suites.tpu]
tests = ["tests"]
machine = "tpu"
timeout = "30m"
"""


def both(machine: MachineSpec) -> list[Offer]:
    """Spot and on-demand offers in each zone."""
    prices = {True: 0.6, False: 2.7}
    return [
        Offer(machine=machine, zone=zone, spot=spot, price_per_hour=price)
        for zone in machine.zones
        for spot, price in prices.items()
    ]


class Talkative(FakeProvider):
    """A provider with checks of its own."""

    def __init__(self, own: Callable[[], Iterator[Check]]) -> None:
        super().__init__(name="gcp-tpu", offers=both)
        self._own = own

    def examine(self, machine: MachineSpec) -> Iterator[Check]:
        assert machine.name == "tpu"
        return self._own()


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Provider]:
    """A folder with a configuration; the provider that `gcp-tpu` is can be replaced in the list."""
    (tmp_path / "ci-runner.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    found: list[Provider] = [FakeProvider(name="gcp-tpu", offers=both)]
    monkeypatch.setattr(checks, "provider_named", lambda name, environ: found[0])
    monkeypatch.setattr(checks, "clock", lambda environ: Check.ok("clock", "agrees"))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(checks, "tools", lambda names: [Check.ok(name, "there") for name in names])
    return found


def command(*words: str) -> int:
    parser = ArgumentParser()
    doctor.add_arguments(parser)
    return doctor.run(parser.parse_args(words))


def test_all_is_well(cloud: list[Provider], capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok       here: configuration  2 machines, 2 suites (ci-runner.toml)",
        "ok       here: git            there",
        "ok       here: ssh            there",
        "ok       here: ssh-keygen     there",
        "ok       here: clock          agrees",
        "ok       here: history        .ci-runner/results can be read",
        "ok       local: provider      this machine",
        "ok       tpu: listing         gcp-tpu answers: 0 machines of ours there now",
        "ok       tpu: offers          4 offers, cheapest us-central1-b v6e-1 spot at $0.60/h",
        "ok       tpu: first run       tried first: us-central1-b v6e-1 spot at $0.60/h;"
        " a lease of 30 min costs at most $1.35",
        "10 ok",
    ]


def test_one_machine_only_and_as_json(cloud: list[Provider], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--machine", "local", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)["checks"]
    assert [(each["place"], each["name"]) for each in found] == [
        ("here", "configuration"),
        ("here", "git"),
        ("here", "history"),
        ("local", "provider"),
    ]
    with pytest.raises(UsageError) as caught:
        command("--machine", "tpus")
    assert caught.value.fix == "perhaps you meant tpu"
    with pytest.raises(UsageError) as caught:
        command("--machine", "x")
    assert caught.value.fix == "there are: local, tpu"


def test_a_missing_quota_is_named_with_its_fix(
    cloud: list[Provider], capsys: pytest.CaptureFixture[str]
) -> None:
    def own() -> Iterator[Check]:
        yield Check.ok("credentials", "me@project")
        yield Check.warning("zones", "europe-west4-a cannot be seen", "leave it out")
        raise QuotaError("limit 0 of TPUV6EPerProject in us-central1", fix="ask for 1 at the console")

    cloud[0] = Talkative(own)
    assert isinstance(cloud[0], Examines)
    assert command("--machine", "tpu") == 4
    out = capsys.readouterr().out
    assert "failed   tpu: credentials" in out
    assert "fix: ask for 1 at the console" in out
    assert "fix: leave it out" in out
    assert out.endswith("9 ok, 1 warning, 1 failed\n")


def test_credentials_outrank_the_rest_and_offers_are_still_told(
    cloud: list[Provider], capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeProvider(name="gcp-tpu", offers=both)
    fake.unreachable = AuthenticationError("no credentials", fix="gcloud auth application-default login")
    cloud[0] = fake
    assert command() == 5
    out = capsys.readouterr().out
    assert "fix: gcloud auth application-default login" in out
    assert "tpu: first run" in out


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConfigurationError("no provider is called that"), 2, "no provider is called that"),
        (ModuleNotFoundError("x", name="boto3"), 8, "a library for gcp-tpu is missing: boto3"),
    ],
)
def test_a_provider_that_cannot_be_had(
    cloud: list[Provider],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    words: str,
) -> None:
    def fail(name: str, environ: Mapping[str, str]) -> Provider:
        raise error

    monkeypatch.setattr(checks, "provider_named", fail)
    assert command() == code
    assert words in capsys.readouterr().out


def test_a_broken_connection_is_a_failed_check(
    cloud: list[Provider], capsys: pytest.CaptureFixture[str]
) -> None:
    class Cut(FakeProvider):
        def leases(self, owner: str | None = None) -> list[Lease]:
            raise ConnectionResetError(104, "Connection reset by peer")

    cloud[0] = Cut(name="gcp-tpu", offers=both)
    assert command() == 8
    assert "Connection reset by peer" in capsys.readouterr().out


def test_offers_over_the_cap_are_named(
    cloud: list[Provider], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "ci-runner.toml").write_text(
        CONFIG.replace("[suites.unit]", "max-price-per-hour = 0.1\n[suites.unit]")
    )
    assert command() == 2
    out = capsys.readouterr().out
    assert "no offer is allowed: us-central1-b v6e-1 spot: not tried, $0.60 an hour is over" in out
    cloud[0] = FakeProvider(name="gcp-tpu", offers=lambda machine: ())
    assert command() == 2
    assert "gcp-tpu has none" in capsys.readouterr().out


def test_a_broken_configuration_is_a_failed_check(
    cloud: list[Provider], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "ci-runner.toml").write_text("[machines.tpu]\nprovidr = 1\n")
    assert command() == 2
    out = capsys.readouterr().out
    assert out.startswith("failed   here: configuration")
    assert "providr" in out
    (tmp_path / "ci-runner.toml").unlink()
    assert command() == 0
    assert "write one with: ci-runner init" in capsys.readouterr().out


def test_tools_that_are_missing_say_how_to_get_them() -> None:
    found = list(checks.tools(["git", "ssh"], which=lambda name: "/bin/git" if name == "git" else None))
    assert [check.health for check in found] == [Health.OK, Health.FAILED]
    assert found[1].fix == "install it: apt-get install openssh-client"


@pytest.mark.parametrize(
    ("ahead", "health", "words"),
    [
        (3.0, Health.OK, "agrees"),
        (3600.0, Health.FAILED, "1 h ahead"),
        (-600.0, Health.FAILED, "10 min behind"),
    ],
)
def test_the_clock(ahead: float, health: Health, words: str) -> None:
    now = 1_800_000_000.0
    check = checks.clock_check(email.utils.formatdate(now, usegmt=True), now + ahead)
    assert check.health is health
    assert words in check.text


def test_a_clock_that_cannot_be_compared_is_a_warning() -> None:
    assert checks.clock_check("", 0.0).health is Health.WARNING
    assert checks.clock_check("yesterday", 0.0).health is Health.WARNING
    assert checks.clock({"GITHUB_API_URL": "file:///etc/passwd"}).text.endswith("is not https")


def settings(root: Path, **more: object) -> Settings:
    return Settings(root=root, **more)  # type: ignore[arg-type]


def test_the_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.store(settings(tmp_path)).health is Health.OK
    Book(FolderStore(tmp_path / ".ci-runner" / "results")).request(make_lease(created_at=1.0, expires_at=2.0))
    late = checks.store(settings(tmp_path))
    assert late.health is Health.WARNING
    assert late.text == "1 lease past their time and never closed"
    assert checks.store(settings(tmp_path, stores={"history": "ftp://x"})).exit_code == 2
    monkeypatch.setattr(checks, "_unwritable", lambda folder: folder)
    assert checks.store(settings(tmp_path)).health is Health.FAILED

    class Broken(Book):
        def open(self) -> Iterator[Lease]:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checks, "book_of", lambda settings: Broken())
    assert "Permission denied" in checks.store(settings(tmp_path)).text


def test_the_store_of_caches_is_looked_at_and_never_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = settings(tmp_path, stores={"caches": "shelf"})
    keep(FolderStore(tmp_path / "shelf"), "org--repo/pip", "0" * 16, [b"x"], at=1.0)
    assert checks.caches(there) == Check.ok("caches", "shelf can be read and holds 1 cache")
    wrong = checks.caches(settings(tmp_path, stores={"caches": "branch://x"}))
    assert (wrong.health, wrong.exit_code) == (Health.WARNING, 0)
    assert "(stores.caches)" in wrong.text

    def refuse(*_: object) -> Iterator[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FolderStore, "list", refuse)
    assert checks.caches(there).text == "shelf cannot be read: Permission denied"
    told = [check.name for check in checks.here(there, [], {})]
    assert told.count("caches") == 1
    assert "caches" not in [check.name for check in checks.here(settings(tmp_path), [], {})]


def test_a_folder_that_is_not_there_yet_is_writable_where_its_parent_is(tmp_path: Path) -> None:
    assert checks._unwritable(tmp_path / "a" / "b") is None
    assert checks._unwritable(Path("/proc/self/nothing/here")) is not None


def test_how_long_a_lease_may_last(tmp_path: Path) -> None:
    machine = MachineSpec(name="tpu", provider="gcp-tpu")
    suites = {
        "a": Suite(name="a", title="A", machine="tpu", timeout_seconds=600.0, retries=1),
        "b": Suite(name="b", title="B", machine="tpu", timeout_seconds=300.0, setup=("x",)),
        "c": Suite(name="c", title="C", timeout_seconds=9999.0),
    }
    found = settings(tmp_path, suites=suites)
    assert checks.lease_seconds(found, machine) == 1200.0
    assert checks.lease_seconds(found, MachineSpec(name="tpu", max_minutes=10.0)) == 600.0
    assert checks.lease_seconds(found, MachineSpec(name="other")) == 3600.0


def test_hostile_words_stay_on_their_line() -> None:
    check = Check.from_error("listing", MachineError("no\n::error::x", where="there"))
    told = doctor.lines([("tpu", [check])])
    assert len(told) == 2
    assert "\n" not in told[0]
    assert doctor.exit_code([check, Check.ok("a", "b")]) == 8
