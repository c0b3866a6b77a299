"""Runs uv so that the environment holds what the lock says, and says what its failures mean."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bootstrap.index import Index
from bootstrap.problems import Refused, SetupProblem, Unreachable
from bootstrap.request import ALL, Wanted
from bootstrap.web import CERTIFICATES

# settings of the caller that would change what the lock says, or where it is put
DROPPED = (
    "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX",
    "UV_FROZEN", "UV_LOCKED", "UV_NO_SYNC", "UV_PROJECT", "UV_WORKING_DIRECTORY", "UV_NO_EDITABLE", "UV_NO_DEFAULT_GROUPS",
    "UV_NO_DEV", "UV_DEV", "UV_NO_GROUP", "UV_GROUP", "UV_RESOLUTION", "UV_PRERELEASE", "UV_EXCLUDE_NEWER", "UV_TARGET",
    "UV_CONSTRAINT", "UV_OVERRIDE", "UV_BUILD_CONSTRAINT", "VIRTUAL_ENV", "CONDA_PREFIX",
)  # fmt: skip
NO_NETWORK = re.compile(
    r"dns error|failed to lookup|connection refused|connection reset|network is unreachable|no route to host"
    r"|timed out|tcp connect|error sending request|failed to fetch|failed to download|connectivity is disabled",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Uv:
    """uv, ready to work on one environment."""

    program: Path
    wanted: Wanted
    index: Index
    environ: Mapping[str, str]
    lock: int  # stays open in uv: while it works, nobody else starts, even if we are gone
    on_slow: Callable[[], None]
    patience: float = 4.0  # seconds after which a person is told what takes so long

    def run(self, *words: str) -> None:
        """Run uv; its words are kept for the case that it fails."""
        command = [str(self.program), *words, "--quiet"]
        process = subprocess.Popen(
            command,
            cwd=self.wanted.root,
            env=environment(self.environ, self.wanted, self.index),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(self.lock,),
        )
        try:
            output = self.ended(process)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if process.returncode != 0:
            raise meaning(output.decode("utf-8", "replace"), process.returncode, self.wanted, self.index)

    def ended(self, process: subprocess.Popen[bytes]) -> bytes:
        """Everything that the process printed."""
        try:
            return process.communicate(timeout=self.patience)[0]
        except subprocess.TimeoutExpired:
            self.on_slow()
            return process.communicate()[0]


def environment(environ: Mapping[str, str], wanted: Wanted, index: Index) -> dict[str, str]:
    """The variables that uv gets: the caller's, less those that would make another environment of it."""
    result = {name: value for name, value in environ.items() if name not in DROPPED}
    result["UV_PROJECT_ENVIRONMENT"] = str(wanted.venv)
    result["UV_PYTHON_DOWNLOADS"] = "never"
    if not index.is_pypi:
        result["UV_DEFAULT_INDEX"] = index.url
    if "SSL_CERT_FILE" not in result and "SSL_CERT_DIR" not in result:
        other = next((environ[name] for name in CERTIFICATES if environ.get(name)), "")
        if other:
            result["SSL_CERT_DIR" if Path(other).is_dir() else "SSL_CERT_FILE"] = other
        else:
            result.setdefault("UV_SYSTEM_CERTS", "true")
    return result


def synchronise(uv: Uv, start_over: bool) -> None:
    """Make the environment hold what is wanted; what else is in it stays."""
    wanted = uv.wanted
    check_place(wanted, start_over)
    if start_over or not is_usable(wanted.venv):
        uv.run("venv", "--clear", "--no-project", *python_choice(wanted), str(wanted.venv))
    python = ("--python", wanted.python) if wanted.python else ()
    if uv.index.is_pypi:
        retried_offline(uv, "sync", "--locked", "--inexact", *python, *selection(wanted))
    else:
        from_mirror(uv)


def from_mirror(uv: Uv) -> None:
    """The same from another index: uv.lock names PyPI's addresses, so only its versions and hashes are used."""
    wanted = uv.wanted
    project = ("--python", str(wanted.venv / "bin" / "python"), "--no-deps")
    with tempfile.NamedTemporaryFile(prefix="ci-runner-", suffix=".txt") as pinned:
        export = ("export", "--frozen", "--no-emit-project", "--no-header", "--no-annotate", "--output-file")
        uv.run(*export, pinned.name, *selection(wanted))
        retried_offline(uv, "pip", "install", *project, "--require-hashes", "--requirements", pinned.name)
    uv.run("pip", "install", *project, "--editable", str(wanted.root))


def retried_offline(uv: Uv, *words: str) -> None:
    """Without a network the cache may still have it all."""
    try:
        uv.run(*words)
    except Unreachable as problem:
        try:
            uv.run(*words, "--offline")
        except SetupProblem:
            raise problem from None


def selection(wanted: Wanted) -> list[str]:
    """The groups and extras as uv's options."""
    words = ["--no-default-groups"]
    for kind, chosen in (("group", wanted.groups), ("extra", wanted.extras)):
        if ALL in chosen:
            words.append(f"--all-{kind}s")
        else:
            words += [word for name in chosen for word in (f"--{kind}", name)]
    return words


def python_choice(wanted: Wanted) -> tuple[str, str]:
    """The interpreter for a new environment: the caller's choice, else the one that runs this, but never a virtual one."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return ("--python", wanted.python or os.path.realpath(base))


def is_usable(venv: Path) -> bool:
    """Is there an environment whose interpreter still exists?"""
    return (venv / "pyvenv.cfg").is_file() and os.access(venv / "bin" / "python", os.X_OK)


def check_place(wanted: Wanted, start_over: bool) -> None:
    """Never clear a folder that is no virtual environment."""
    venv = wanted.venv
    if start_over or not venv.exists() or (venv / "pyvenv.cfg").is_file():
        return
    if not venv.is_dir() or any(venv.iterdir()):
        raise Refused(
            f"{venv} exists and is no virtual environment",
            fix="move it away, or name another place in CI_RUNNER_VENV",
        )


def meaning(output: str, code: int, wanted: Wanted, index: Index) -> SetupProblem:
    """What uv's failure means for a person; its own words are kept."""
    said = "; ".join(line.strip() for line in output.splitlines() if line.strip())[-1500:] or f"exit {code}"
    if "needs to be updated" in said:
        return Refused("uv.lock does not fit pyproject.toml", fix="run: uv lock, and commit uv.lock")
    if re.search(r"hash mismatch", said, re.IGNORECASE):
        return SetupProblem(
            f"{index} gave a file whose hash is not the locked one: {said}",
            fix="do not use that index or proxy; nothing of the file has been run",
        )
    if re.search(r"(group|extra) .* is not defined|does not have|no such (group|extra)", said, re.IGNORECASE):
        return Refused(
            f"pyproject.toml has no such group or extra: {said}",
            fix="check CI_RUNNER_GROUPS and CI_RUNNER_EXTRAS against pyproject.toml",
        )
    if re.search(r"no space left|disk quota", said, re.IGNORECASE):
        return SetupProblem(
            f"the disk is full: {said}",
            fix=f"make room on the disk of {wanted.venv.parent} and of the cache (UV_CACHE_DIR, XDG_CACHE_HOME)",
        )
    if re.search(r"read-only file system|permission denied", said, re.IGNORECASE):
        return SetupProblem(
            f"cannot write: {said}", fix="name a folder that can be written in CI_RUNNER_VENV"
        )
    if NO_NETWORK.search(said):
        return Unreachable(
            f"cannot reach {index}: {said}",
            fix="connect to a network, or set HTTPS_PROXY, or name an index that can be reached in UV_DEFAULT_INDEX",
        )
    return SetupProblem(f"uv failed: {said}", fix="read what uv says above; then start again")
