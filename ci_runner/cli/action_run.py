"""The steps of actions that set up, plan, run and release."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ci_runner.cli.action import (
    command,
    give,
    is_true,
    keep_records,
    parts_of,
    settings_of,
    temporary,
    with_library,
    words_for,
)

if TYPE_CHECKING:
    from ci_runner.cli.action_table import Action
    from ci_runner.config.settings import Settings
    from ci_runner.model import Plan, Selection

# inputs that decide what is selected; a saved plan has done that
DECIDING = ("test-config", "suites", "shard", "changed-files", "use-python-test-runner")
DESCRIBED = ("machine", "tpu-type", "instance-type")
ACTION_OF = {"local": "test", "gcp-tpu": "tpu-test", "aws-ec2": "gpu-test"}


def set_up(_action: Action, values: Mapping[str, str], _began: Mapping[str, str]) -> int:
    """Put a ci-runner that uses this environment in a folder of its own, and that on the PATH of later steps."""
    from ci_runner import __version__
    from ci_runner.errors import MachineError

    root = Path(__file__).resolve().parents[2]
    program = temporary(os.environ) / "bin" / "ci-runner"
    lines = [
        "#!/usr/bin/env bash",
        f"export CI_RUNNER_VENV=${{CI_RUNNER_VENV:-{shlex.quote(sys.prefix)}}} CI_RUNNER_GROUPS=${{CI_RUNNER_GROUPS-}}",
        f'exec {shlex.quote(str(root / "scripts" / "ci-runner"))} "$@"',
    ]
    try:
        program.parent.mkdir(exist_ok=True)
        program.write_text("\n".join([*lines, ""]), encoding="utf-8")
        program.chmod(0o755)
        if is_true(values["add-to-path"]) and os.environ.get("GITHUB_PATH"):
            with Path(os.environ["GITHUB_PATH"]).open("a", encoding="utf-8") as file:
                file.write(f"{program.parent}\n")
    except OSError as error:
        raise MachineError(
            f"cannot put ci-runner where later steps find it: {error.strerror or error}",
            where=str(error.filename or program),
            fix="let RUNNER_TEMP and GITHUB_PATH name what can be written",
        ) from error
    give(os.environ, {"command": str(program), "version": __version__})
    print(f"ci-runner {__version__}: {program}")
    return 0


def plan(action: Action, values: Mapping[str, str], began: Mapping[str, str]) -> int:
    """Choose the suites; the command itself sets the outputs of the matrix."""
    folder = temporary(os.environ)
    settings = settings_of(values, os.environ)
    reads = reads_branch(settings, os.environ)
    if not reads:
        settings = keep_records(values, folder, os.environ)
    if reads or (
        may_ask(began) and any(machine.provider != "local" for machine in settings.machines.values())
    ):
        with_library(action, "plan", began)
    path = folder / "plan.json"
    code = command("plan", f"--save-plan={path}", *words_for("plan", action, values))
    give(os.environ, {"plan": str(path)})
    return code


def reads_branch(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Whether suites are split by what the history on a branch knows, where `report` keeps it unless it is told."""
    from ci_runner.history.store import usual_location

    location = usual_location(settings.stores, environ) or ""
    return location.startswith("branch://") and any(suite.shards > 1 for suite in settings.suites.values())


def may_ask(began: Mapping[str, str]) -> bool:
    """Whether GitHub may have to be asked who may lease: not for what only people with write access can cause."""
    from ci_runner.github.trust import PROVEN_RUNS

    return began.get("GITHUB_EVENT_NAME") not in PROVEN_RUNS or began.get("GITHUB_RUN_ATTEMPT") != "1"


def run(action: Action, values: Mapping[str, str], began: Mapping[str, str]) -> int:
    """Run the suites; with results there is a verdict, and the next step says what it means. Otherwise the exit code."""
    from ci_runner.errors import CANCELLED
    from ci_runner.execution.folder import new_run_id

    base = temporary(os.environ)
    settings = keep_records(values, base, os.environ)
    if may_ask(began) and provider_of(action, values) != "local":
        with_library(action, "run", began)
    name = new_run_id(time.time())
    folder = base / "runs" / f"{action.name}-{name}"
    words = chosen(action, values, settings, base / f"{action.name}-{name}.plan.json")
    give(os.environ, {"results-folder": str(folder)})  # now: whoever is killed sets no output any more
    os.environ.pop("GITHUB_STEP_SUMMARY", None)  # the report writes it
    code = command("run", f"--out={folder}", *words)
    return 0 if code != CANCELLED and (folder / "results.json").is_file() else code


def release(action: Action, values: Mapping[str, str], _began: Mapping[str, str]) -> int:
    """Give back whatever this job leased, found by the job's name alone."""
    provider = provider_of(action, values)
    if provider == "local":
        return 0
    keep_records(values, temporary(os.environ), os.environ)
    return command(
        "machines",
        "release",
        "--github=job",
        f"--provider={provider}",
        *words_for("machines", action, values),
    )


def provider_of(action: Action, values: Mapping[str, str]) -> str:
    """Who lends the machines of this action."""
    from ci_runner.cli.adhoc import PROVIDERS

    return action.provider or PROVIDERS[values["platform"]]


def chosen(action: Action, values: Mapping[str, str], settings: Settings, file: Path) -> list[str]:
    """The arguments of `run`: what was asked for, as far as this action's kind of machine is what it runs on."""
    from ci_runner.errors import UsageError

    provider = provider_of(action, values)
    named = [name for name in ("test-config", "suites", "ids") if values.get(name) not in (None, "", "all")]
    if action.provider is None and not (named or values["test-path"] or values["plan"]):
        raise UsageError("nothing is named that measures", fix="name a suite in test-config or suites")
    described = next((name for name in DESCRIBED if values.get(name)), None)
    if values.get("machine"):
        check_machine(values["machine"], settings, provider, action)
    words = words_for("run", action, values)
    if described:
        return words
    machines = [spec.name for spec in settings.machines.values() if spec.provider == provider]
    if not machines:
        kind = (
            "tpu-type" if provider == "gcp-tpu" else "instance-type" if provider == "aws-ec2" else "machine"
        )
        raise UsageError(
            f"nothing says which machine: the configuration has none of {provider}",
            fix=f"give the input {kind}, or write a machine into the configuration: ci-runner init",
        )
    if values["test-path"]:
        return [*words, *only_one(machines, provider)]
    return planned(action, values, words, named=bool(named), file=file)


def check_machine(name: str, settings: Settings, provider: str, action: Action) -> None:
    """Raise UsageError for a machine that another provider lends."""
    from ci_runner.errors import UsageError

    spec = settings.machines.get(name)
    if spec is not None and spec.provider != provider:
        raise UsageError(
            f'the machine "{name}" is of {spec.provider}, and the action {action.name} uses {provider}',
            where="input machine",
            fix=fitting(spec.provider),
        )


def fitting(provider: str) -> str:
    """What to use for a machine of this provider."""
    from ci_runner.cli.adhoc import PROVIDERS

    platform = next((name for name, known in PROVIDERS.items() if known == provider), "local")
    own = f"the action {ACTION_OF[provider]}, or " if provider in ACTION_OF else ""
    return f"use {own}the action benchmark with platform: {platform}"


def only_one(machines: list[str], provider: str) -> list[str]:
    """The option that names the machine for tests that no suite names one for."""
    from ci_runner.errors import UsageError

    if provider == "local":
        return []
    if len(machines) > 1:
        raise UsageError(
            f"test-path says nothing of the machine, and there are several of {provider}",
            fix=f"give the input machine: one of {', '.join(sorted(machines))}",
        )
    return [f"--machine={machines[0]}"]


def planned(
    action: Action, values: Mapping[str, str], words: list[str], *, named: bool, file: Path
) -> list[str]:
    """The arguments that run the part of the plan that is for this action's machines; the rest is another job's."""
    from ci_runner.cli import running
    from ci_runner.cli.action import parsed
    from ci_runner.errors import UsageError

    provider = provider_of(action, values)
    found = running.chosen_by(parsed("run", *words))
    here: list[Selection] = []
    others: list[Selection] = []
    for item in found.plan.selected:
        there = found.settings.machines[item.suite.machine].provider
        (here if there == provider else others).append(item)
    if not others:
        return words
    if named:
        other = others[0].suite
        there = found.settings.machines[other.machine].provider
        raise UsageError(
            f'the suite "{other.name}" runs on machine "{other.machine}" of {there}, not of {provider}',
            fix=fitting(there),
        )
    kept = {name: value for name, value in values.items() if name not in (*DECIDING, "plan", "ids")}
    save(file, found.plan, here, others)
    return [*words_for("run", action, kept), f"--plan={file}", *(f"--id={item.id}" for item in here)]


def save(file: Path, found: Plan, here: list[Selection], others: list[Selection]) -> None:
    """Keep the plan for `run`; one with nothing for this machine is green, since other jobs run the rest."""
    from ci_runner import codec
    from ci_runner.execution.folder import write_atomically
    from ci_runner.github.commands import one_line

    left = ", ".join(f"{one_line(item.id, 80)} ({one_line(item.suite.machine, 40)})" for item in others[:20])
    note = f"left to the jobs of other machines: {left}{' …' if len(others) > 20 else ''}"
    print(note)
    result = dataclasses.replace(found, notes=(*found.notes, note))
    if not here:
        result = dataclasses.replace(result, selected=(), nothing_due=True)
    write_atomically(file, codec.dumps(result).encode())


def part_name(values: Mapping[str, str], inputs: Action, environ: Mapping[str, str]) -> str:
    """The name of this job's share of a comment: its id and what it runs, in the form that comments take."""
    import hashlib

    from ci_runner.execution.folder import safe_name

    asked = [
        part
        for item in inputs.inputs
        if item.name in ("test-config", "suites", "ids", "shard") and values.get(item.name)
        for part in parts_of(item, values[item.name])
    ]
    whole = "-".join([environ.get("GITHUB_JOB") or inputs.name, *asked])
    short = safe_name(whole)
    if len(short) <= 60 and short == whole:
        return short
    return f"{short[:50]}-{hashlib.sha256(whole.encode('utf-8', 'replace')).hexdigest()[:8]}"
