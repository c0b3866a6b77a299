"""Settings that were read before come back as they were, and never when anything that they depend on has changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_runner import codec
from ci_runner.config import kept, load
from ci_runner.config.kept import settings_at
from ci_runner.config.settings import Settings
from ci_runner.errors import ConfigurationError, UsageError

ROOT = Path(__file__).resolve().parents[2]
TEXT = """\
[project]
name = "kpt"
fallback-risks = ["low"]
[suites.unit]
tests = ["tests"]
timeout = "5m"
env = { A = "1" }
[suites.unit.when]
events = ["push"]
[suites.unit.matrix]
size = ["1", "2"]
[[quarantine]]
test = "tests/test_a.py::*"
owner = "me"
expires = 2026-12-01
[machines.tpu]
provider = "gcp-tpu"
type = "v6e-1"
options = { project = "p" }
[budgets]
team = 12.5
"""

Look = Callable[..., Settings]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "ci-runner.toml").write_text(TEXT)
    return tmp_path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose configuration was read from its files."""
    seen: list[Path] = []
    real = load.load_settings

    def counted(start: Path, **values: object) -> Settings:
        seen.append(start)
        return real(start, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(load, "load_settings", counted)
    return seen


@pytest.fixture
def look(folder: Path) -> Look:
    def looked(**environ: str) -> Settings:
        return settings_at(folder / "repo", environ={"HOME": str(folder), **environ})

    return looked


def files(folder: Path) -> list[Path]:
    return sorted((folder / ".cache" / "ci-runner" / "settings").glob("*.json"))


def test_the_second_start_reads_no_configuration_and_knows_the_same(
    folder: Path, look: Look, reads: list[Path]
) -> None:
    first, second = look(), look()
    assert len(reads) == 1
    assert {**codec.plain(second), "values": 0} == {**codec.plain(first), "values": 0}
    assert (second.suites, second.machines, second.quarantine) == (
        first.suites,
        first.machines,
        first.quarantine,
    )
    assert (second.root, second.fallback_risks, second.origins) == (
        first.root,
        first.fallback_risks,
        first.origins,
    )
    (file,) = files(folder)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("name", ["pytorch", "tpu"])
def test_the_examples_come_back_as_they_were(name: str, tmp_path: Path) -> None:
    start, environ = ROOT / "docs" / "examples" / name, {"HOME": str(tmp_path)}
    whole = load.load_settings(start, environ=environ)
    assert settings_at(start, environ=environ) == whole
    again = settings_at(start, environ=environ)
    assert (again.suites, again.machines, again.flags, again.alerts) == (
        whole.suites,
        whole.machines,
        whole.flags,
        whole.alerts,
    )
    assert codec.plain(again) == codec.plain(whole)


@pytest.mark.parametrize(
    "name", ["repo/ci-runner.toml", "repo/ci-runner.local.toml", ".config/ci-runner/config.toml"]
)
def test_a_change_of_any_file_is_seen(folder: Path, look: Look, reads: list[Path], name: str) -> None:
    look()
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + '[stores]\nhistory = "elsewhere"\n')
    assert look().stores == {"history": "elsewhere"}
    path.unlink()
    if "team" not in name and name != "repo/ci-runner.toml":
        assert look().stores == {}
    assert len(reads) >= 2


def test_variables_and_ci_systems_get_the_whole_check(folder: Path, look: Look, reads: list[Path]) -> None:
    assert look(CI_RUNNER_RETRY_LIMIT="3").retry_limit == 3
    look(CI="true")
    look(GITHUB_ACTIONS="true")
    settings_at(folder / "repo", environ={})
    assert (len(reads), files(folder)) == (4, [])
    look(CI_RUNNER_LEASE="7f3c")  # sets nothing
    assert len(files(folder)) == 1


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"root": 1}', b'{"root": "/", "suites": {"unit": 3}}', b"\xff"]
)
def test_a_damaged_file_is_not_believed(folder: Path, look: Look, reads: list[Path], data: bytes) -> None:
    first = look()
    files(folder)[0].write_bytes(data)
    assert look().suites == first.suites
    assert len(reads) == 2


def test_what_somebody_else_put_there_is_not_believed(
    folder: Path, look: Look, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    look()
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    look()
    assert len(reads) == 2


def test_channels_are_read_each_time(folder: Path, look: Look, reads: list[Path]) -> None:
    text = '[notify.team]\nkind = "slack"\nurl-env = "HOOK"\nquiet-hours = ["22:00-07:00"]\n'
    (folder / "repo" / "ci-runner.toml").write_text(TEXT + text)
    assert look().notify["team"] == look().notify["team"]
    assert (len(reads), files(folder)) == (2, [])


def test_a_cache_that_cannot_be_written_stops_nobody(folder: Path, look: Look) -> None:
    (folder / ".cache").write_text("a file")
    assert look().name == "kpt"


def test_old_ones_are_forgotten(folder: Path, look: Look) -> None:
    look()
    (old,) = files(folder)
    os.utime(old, (0, 0))
    (folder / "repo" / "ci-runner.toml").write_text(TEXT.replace("12.5", "13"))
    look()
    assert old not in files(folder)
    assert json.loads(files(folder)[0].read_text())["budgets"] == {"team": 13.0}


def test_errors_are_those_of_the_whole_check(folder: Path, look: Look) -> None:
    (folder / "repo" / "ci-runner.toml").write_text("[projekt]\n")
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            look()
    with pytest.raises(UsageError, match="no such configuration"):
        settings_at(folder, environ={"HOME": str(folder)}, config_file=folder / "absent.toml")
    assert files(folder) == []


def test_the_digest_covers_the_code(folder: Path, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    look()
    other = folder / "other" / "config"
    other.mkdir(parents=True)
    (other / "tables.py").write_text("# newer")
    monkeypatch.setattr(kept, "__file__", str(other / "kept.py"))
    look()
    assert len(files(folder)) == 2
