"""A gcloud that remembers what was made, and what the installed one knows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SECONDS = 120.0

# answers as gcloud does, from a folder that remembers what there is; everything asked of it is written down
FAKE_GCLOUD = """
import json, os, pathlib, sys
state = pathlib.Path(os.environ["FAKE_GCLOUD"])
words = sys.argv[1:]
with (state / "calls").open("a") as log:
    log.write(json.dumps(words) + "\\n")
flags = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
plain = [word for word in words if not word.startswith("--")]
def file(kind, name):
    return state / (kind + "-" + name.replace("/", "_"))
KINDS = {"service-accounts": "account", "roles": "role", "workload-identity-pools": "pool", "providers": "provider"}
if plain[0] == "config":
    print(os.environ.get("FAKE_PROJECT", ""))
    sys.exit(0)
if plain[:2] == ["projects", "describe"]:
    print("424242424242")
    sys.exit(0)
if plain[:2] == ["services", "enable"]:
    sys.exit(0)
verb, name = plain[-2], plain[-1]
if verb == "add-iam-policy-binding":
    flaky = state / "flaky"
    if flaky.exists():
        flaky.unlink()
        sys.exit("ERROR: Service account does not exist.")
    if plain[0] == "iam" and not file("account", name.partition("@")[0]).exists():
        sys.exit("ERROR: no such account")
    sys.exit(0)
kind = KINDS[plain[-3]]
there = file(kind, name.partition("@")[0])
if verb in ("create", "create-oidc"):
    if there.exists():
        sys.exit("ERROR: ALREADY_EXISTS")
    there.write_text("ACTIVE")
elif not there.exists():
    sys.exit("ERROR: NOT_FOUND")
elif verb == "describe":
    deleted = there.read_text() == "DELETED"
    if flags.get("format") == "value(state)":
        print("DELETED" if deleted else "ACTIVE")
    elif flags.get("format") == "value(deleted)":
        print("True" if deleted else "")
elif verb == "undelete":
    there.write_text("ACTIVE")
elif verb in ("update", "update-oidc"):
    if there.read_text() == "DELETED":
        sys.exit("ERROR: FAILED_PRECONDITION")
else:
    sys.exit("ERROR: gcloud has no such command here: " + " ".join(plain))
"""


class Gcloud:
    """A gcloud that remembers, first on PATH, and the script that is given to it."""

    def __init__(self, folder: Path, script: str) -> None:
        self.state = folder / "state"
        self.state.mkdir()
        self.bin = folder / "bin"
        self.bin.mkdir()
        program = self.bin / "gcloud"
        program.write_text(f"#!{sys.executable} -IS\n{FAKE_GCLOUD}")
        program.chmod(0o755)
        pause = self.bin / "sleep"
        pause.write_text("#!/bin/sh\n")
        pause.chmod(0o755)
        self.script = folder / "setup.sh"
        self.script.write_text(script)

    def run(self, project: str = "octo-project") -> subprocess.CompletedProcess[str]:
        """Run the script once more."""
        environ = {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "FAKE_GCLOUD": str(self.state),
            "FAKE_PROJECT": project,
        }
        return subprocess.run(
            ["bash", str(self.script)],
            env=environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def take_calls(self) -> list[list[str]]:
        """What gcloud was asked since the last time."""
        log = self.state / "calls"
        found = [json.loads(line) for line in log.read_text().splitlines()]
        log.unlink()
        return found


def verbs(calls: list[list[str]]) -> set[str]:
    """What the calls make, change or remove."""
    return {
        word
        for call in calls
        for word in call
        if word.startswith(("create", "undelete", "update", "delete", "remove"))
    }


def flag(call: list[str], name: str) -> str:
    """The value of a flag."""
    return next(word.partition("=")[2] for word in call if word.startswith(f"--{name}="))


def gcloud_tree() -> Any:
    """The commands and flags that the installed gcloud knows, from its own table for completion."""
    found = shutil.which("gcloud")
    assert found is not None
    file = Path(found).resolve().parents[1] / "data" / "cli" / "gcloud_completions.py"
    _, _, text = file.read_text(encoding="utf-8").partition("STATIC_COMPLETION_CLI_TREE = ")
    return json.loads(text)  # it is Python, and JSON as well, which is read much faster
