"""`ci-runner machines`: the machines of ours that exist, and what can be done to one of them."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ci_runner.cli import clouds, machine_access

if TYPE_CHECKING:
    from ci_runner.model import Lease
    from ci_runner.providers.base import Provider

EXAMPLE = "ci-runner machines list --provider gcp-tpu"
SWITCHES = {"start": "started", "stop": "stopped", "restart": "restarted"}
RELEASE_TRIES = 3
RELEASE_PAUSE = 1.0


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `machines`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    listing = actions.add_parser("list", help="every machine of ours, one a line")
    listing.add_argument("--owner", metavar="O", help="only machines of this person")
    listing.add_argument("--team", metavar="X", help="only machines of this team")
    listing.set_defaults(machines_action=list_machines)
    status = actions.add_parser("status", help="everything that is known of one machine")
    status.set_defaults(machines_action=show)
    release = actions.add_parser("release", help="give machines back; one that is gone already is no error")
    release.add_argument("lease", nargs="*", metavar="LEASE", help="a lease's id, or its beginning")
    release.add_argument("--run", metavar="RUN_ID", help="every machine of this run")
    release.add_argument(
        "--github",
        choices=("job", "call", "workflow"),
        help="every machine that this GitHub job leased, or that any job of this workflow run did; call: of those, the"
        " ones that bear CI_RUNNER_CALL",
    )
    release.set_defaults(machines_action=release_machines)
    switches = []
    for name, done in SWITCHES.items():
        switch = actions.add_parser(
            name, help=f"{name} a machine that stays ours; it is {done} when this returns"
        )
        switch.set_defaults(machines_action=switch_machine)
        switches.append(switch)
    ssh = actions.add_parser("ssh-command", help="print the command that logs in to a machine")
    machine_access.add_ssh_arguments(ssh)
    ssh.set_defaults(machines_action=machine_access.ssh_command)
    boot = actions.add_parser(
        "boot-script", help="print what a machine would run when it boots; start nothing"
    )
    machine_access.add_boot_arguments(boot)
    boot.set_defaults(machines_action=machine_access.boot_script)
    for action in (status, *switches):
        action.add_argument("lease", metavar="LEASE", help="the lease's id, or its beginning")
    for action in (listing, status, release, *switches, ssh, boot):
        if action is boot:
            clouds.add_config(action)
        else:
            clouds.add_arguments(action)
        action.add_argument(
            "--format", choices=("text", "json"), default="text", help="json: one object on stdout"
        )


def run(arguments: Namespace) -> int:
    """Do what the action says."""
    return int(arguments.machines_action(arguments))


def _answer(arguments: Namespace) -> clouds.Answer:
    settings = clouds.settings_for(arguments)
    return clouds.ask(clouds.names_for(settings, arguments.provider))


def list_machines(arguments: Namespace) -> int:
    """Print every machine; 5 if a provider does not know us."""
    from ci_runner.providers.identity import label_value

    answer, now = _answer(arguments), time.time()
    leases = [
        lease
        for _, lease in answer.leases
        if _is(lease.owner, arguments.owner, label_value)
        and _is(lease.labels.get("team", ""), arguments.team, label_value)
    ]
    leases.sort(key=lambda lease: (lease.machine.provider, lease.expires_at, lease.id))
    if arguments.format == "json":
        _print_json({"machines": [plain(lease, now) for lease in leases], "unreachable": answer.plain()})
    else:
        for line in clouds.table([row(lease, now) for lease in leases]):
            print(line)
        if not leases and answer.asked:
            print("no machines")
    return answer.complain()


def _is(value: str, wanted: str | None, form: Callable[[str], str]) -> bool:
    """Whether a label is the one that is wanted; clouds keep labels in a form of their own."""
    return wanted is None or form(value) == form(wanted)


def row(lease: Lease, now: float) -> tuple[str, ...]:
    """One machine as cells."""
    from ci_runner.github.commands import one_line
    from ci_runner.providers.reaper import hourly
    from ci_runner.report import words

    price = hourly(lease)
    return (
        one_line(lease.id),
        lease.machine.provider,
        clouds.kind_text(lease),
        one_line(lease.zone or "", 40),
        lease.state.value,
        one_line(lease.owner, 24),
        one_line(lease.suite, 32),
        clouds.until(lease, now),
        "price unknown" if price is None else f"{words.money(price)}/h" if price else "",
    )


def plain(lease: Lease, now: float) -> dict[str, Any]:
    """One machine for JSON."""
    from ci_runner.providers.identity import marked_at
    from ci_runner.providers.prices import cost
    from ci_runner.providers.reaper import hourly
    from ci_runner.report.words import moment

    price, marked = hourly(lease), marked_at(lease)
    return {
        "lease_id": lease.id,
        "provider": lease.machine.provider,
        "type": lease.machine.type,
        "zone": lease.zone,
        "spot": lease.spot,
        "state": lease.state.value,
        "address": lease.address,
        "owner": lease.owner,
        "team": lease.labels.get("team", ""),
        "repository": lease.labels.get("repository", ""),
        "run_id": lease.run_id,
        "suite": lease.suite,
        "created_at": moment(lease.created_at),
        "expires_at": moment(lease.expires_at),
        "expired": now >= lease.expires_at,
        "marked_at": moment(marked) if marked is not None else None,
        "price_per_hour_usd": price,
        "cost_usd": None if price is None else round(cost(price, now - lease.created_at), 6),
    }


def show(arguments: Namespace) -> int:
    """Print what is known of one machine, with its state of this moment."""
    import dataclasses

    from ci_runner.github.commands import one_line

    answer, now = _answer(arguments), time.time()
    provider, lease = clouds.found(answer, arguments.lease)
    lease = dataclasses.replace(lease, state=provider.describe(lease))
    value = plain(lease, now)
    if arguments.format == "json":
        _print_json(value)
        return 0
    for name, item in value.items():
        if item not in (None, ""):
            print(f"{name:20} {one_line(str(item).lower() if isinstance(item, bool) else str(item), 400)}")
    print(f"{'time':20} {clouds.until(lease, now)}")
    return 0


def switch_machine(arguments: Namespace) -> int:
    """Start, stop or restart one machine."""
    provider, lease = clouds.found(_answer(arguments), arguments.lease)
    {"start": provider.start, "stop": provider.stop, "restart": provider.restart}[arguments.action](lease)
    state = provider.describe(lease)
    if arguments.format == "json":
        _print_json({"lease_id": lease.id, "state": state.value})
    else:
        print(f"{SWITCHES[arguments.action]} {lease.id} ({state.value})")
    return 0


def release_machines(arguments: Namespace) -> int:
    """Give machines back and see them go; 8 if one stays, 5 if a provider that may have it does not know us."""
    from ci_runner.errors import MACHINE, UsageError

    if not arguments.lease and not arguments.run and not arguments.github:
        raise UsageError(
            "nothing is named that could be given back", fix="name leases, or a run with --run RUN_ID"
        )
    leased_by = _github_jobs(arguments.github)
    settings = clouds.settings_for(arguments)
    answer = clouds.ask(clouds.names_for(settings, arguments.provider))
    book, told, failed = clouds.book_of(settings), [], False
    for wanted, found in _named(answer, arguments.lease, arguments.run, leased_by):
        if found is None:
            told.append({"lease_id": wanted, "result": "absent", "error": None})
            continue
        provider, lease = found
        error = give_back(provider, lease)
        failed = failed or error is not None
        told.append({"lease_id": lease.id, "result": "failed" if error else "released", "error": error})
        if error is None:
            book.close(lease, at=time.time(), how="released by hand")
    if arguments.format == "json":
        _print_json({"machines": told, "unreachable": answer.plain()})
    elif told or answer.asked:  # nobody who was silent is taken for somebody who has nothing
        _say(told)
    silent = answer.complain()
    return MACHINE if failed else silent


def _github_jobs(which: str | None) -> tuple[str, str] | None:
    """How the marks of the machines that are meant begin and end. Raises UsageError where they would mean nothing."""
    import os

    from ci_runner.errors import UsageError
    from ci_runner.github.job import CALL_VARIABLE, call_of, job_of, workflow_run_of

    if which is None:
        return None
    name = job_of(os.environ) if which == "job" else workflow_run_of(os.environ)
    if not name:
        raise UsageError(
            f"--github {which} means nothing here: GITHUB_RUN_ID is not set",
            fix="outside of GitHub Actions name leases, or a run with --run RUN_ID",
        )
    call = call_of(os.environ)
    if which == "call" and not call:
        raise UsageError(
            f"--github call means nothing here: {CALL_VARIABLE} is not set",
            fix="set it for the jobs that lease and for this one, or say --github workflow",
        )
    return name, call if which == "call" else ""


def _named(
    answer: clouds.Answer, names: list[str], run_id: str | None, leased_by: tuple[str, str] | None = None
) -> list[tuple[str, tuple[Provider, Lease] | None]]:
    """The machines that are named, each once; None for one that is not there. `leased_by`: how marks begin and end."""
    from ci_runner.providers.identity import label_value

    found: dict[str, tuple[Provider, Lease] | None] = {}
    for name in names:
        one = clouds.find(answer, name)
        found[one[1].id if one else name] = one
    for provider, lease in answer.leases:
        of_run = run_id is not None and label_value(lease.run_id) == label_value(run_id)
        mark = lease.labels.get("job", "")
        if of_run or (leased_by and mark.startswith(leased_by[0]) and mark.endswith(leased_by[1])):
            found[lease.id] = (provider, lease)
    return list(found.items())


def give_back(provider: Provider, lease: Lease, sleep: Callable[[float], object] = time.sleep) -> str | None:
    """Release a machine until the provider says that it is gone or going; otherwise why it is not."""
    import dataclasses

    from ci_runner.errors import CiRunnerError
    from ci_runner.model import LeaseState

    whole = dataclasses.replace(lease, expires_at=max(lease.expires_at, lease.created_at + 1.0))
    error = ""
    for number in range(RELEASE_TRIES):
        try:
            provider.release(whole)
            state = provider.describe(whole)
            if state in (LeaseState.GONE, LeaseState.RELEASING):
                return None
            error = f"it is still there ({state.value})"
        except (CiRunnerError, OSError) as raised:
            error = str(raised) or type(raised).__name__
        if number + 1 < RELEASE_TRIES:
            sleep(RELEASE_PAUSE * 2**number)
    return error


def _say(told: list[dict[str, Any]]) -> None:
    from ci_runner.github.commands import one_line

    texts = {
        "absent": "nothing is there called {}",
        "released": "gave {} back",
        "failed": "could not give {} back",
    }
    for each in told:
        line = texts[each["result"]].format(one_line(each["lease_id"], 60))
        print(line + (f": {one_line(each['error'], 200)}" if each["error"] else ""))
    if not told:
        print("no machine of this run is there")


def _print_json(value: dict[str, Any]) -> None:
    import json

    print(json.dumps(value, ensure_ascii=False, indent=2))
