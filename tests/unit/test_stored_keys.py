"""Keys that last draw a warning in a job of GitHub, from `run` and from `doctor`; others do not."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path

import pytest

from ci_runner.cli import doctor
from ci_runner.cli import run as run_command
from ci_runner.providers.stored_keys import stored_keys

JOB = {"GITHUB_ACTIONS": "true"}
USER_KEY = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"}


def google(folder: Path, text: str) -> dict[str, str]:
    file = folder / "credentials.json"
    file.write_text(text)
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}


def test_the_key_of_a_user_is_found() -> None:
    (found,) = stored_keys({**JOB, **USER_KEY})
    assert "AWS_ACCESS_KEY_ID" in found.text
    assert "--print-setup aws" in found.fix


def test_the_key_of_a_service_account_is_found(tmp_path: Path) -> None:
    (found,) = stored_keys({**JOB, **google(tmp_path, json.dumps({"type": "service_account"}))})
    assert "GOOGLE_APPLICATION_CREDENTIALS" in found.text
    assert "--print-setup gcp" in found.fix


@pytest.mark.parametrize(
    "environ",
    [
        {},
        USER_KEY,
        {**JOB, "AWS_ACCESS_KEY_ID": "ASIAIOSFODNN7EXAMPLE"},
        {**JOB, **USER_KEY, "AWS_ENDPOINT_URL_EC2": "http://127.0.0.1:1"},
        {**JOB, "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/credentials.json"},
        {**JOB, "GOOGLE_APPLICATION_CREDENTIALS": "/"},
    ],
)
def test_everything_else_is_not(environ: dict[str, str]) -> None:
    assert list(stored_keys(environ)) == []


@pytest.mark.parametrize(
    "text", ['{"type": "external_account"}', "[]", '"service_account"', "", "{", "\x00", "x" * 200_000]
)
def test_a_file_of_another_kind_is_not(text: str, tmp_path: Path) -> None:
    assert list(stored_keys({**JOB, **google(tmp_path, text)})) == []


def test_doctor_warns_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {**JOB, **USER_KEY}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    parser = ArgumentParser()
    doctor.add_arguments(parser)
    assert doctor.run(parser.parse_args([])) == 0
    out = capsys.readouterr().out
    assert "warning  here: stored key" in out
    assert "fix: let the job assume a role by OIDC" in out


def test_run_warns_in_a_command_that_github_reads_and_leaves_stdout_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**JOB, **USER_KEY}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    run_command._warn_of_stored_keys()
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("::warning title=stored key::AWS_ACCESS_KEY_ID is the key of a user")
    assert "%0Afix: let the job assume a role" in line
