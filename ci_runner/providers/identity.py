"""What a machine bears so that it can be found again by anybody: labels made of a lease, and the lease made of them."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping

from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers.failures import TakenError

PREFIX = "ci-runner-"
LEASE = f"{PREFIX}lease"
OWNER = f"{PREFIX}owner"
REPOSITORY = f"{PREFIX}repository"
RUN = f"{PREFIX}run"
SUITE = f"{PREFIX}suite"
EXPIRES = f"{PREFIX}expires"
CREATED = f"{PREFIX}created"
TEAM = f"{PREFIX}team"
JOB = f"{PREFIX}job"  # the GitHub job, and the call, that leased it: ci_runner/github/job.py
KEY = f"{PREFIX}key"  # of the public key that its run logs in with: another run cannot use the machine
MARKED = f"{PREFIX}reap"  # when the reaper first saw it expired
MAX_VALUE = 63
_UNFIT = re.compile(r"[^a-z0-9_-]+")


def label_value(text: str) -> str:
    """The text as every cloud takes it for a label: lower case letters, digits, `-` and `_`, 63 at most."""
    return _UNFIT.sub("-", text.lower()).strip("-")[:MAX_VALUE].strip("-")


def labels_of(lease: Lease) -> dict[str, str]:
    """The labels of a machine, for the very call that creates it; one with nothing to say is left out."""
    labels = {
        LEASE: lease.id,
        OWNER: label_value(lease.owner),
        REPOSITORY: label_value(lease.labels.get("repository", "")),
        RUN: label_value(lease.run_id),
        SUITE: label_value(lease.suite),
        TEAM: label_value(lease.labels.get("team", "")),
        JOB: label_value(lease.labels.get("job", "")),
        KEY: lease.labels.get("key", ""),
        CREATED: str(int(lease.created_at)),
        EXPIRES: str(int(lease.expires_at)),
    }
    return {name: value for name, value in labels.items() if value}


def keyed(lease: Lease, public: str) -> Lease:
    """The lease with what tells its machine from one that another run makes under the same id."""
    digest = hashlib.sha256(public.encode()).hexdigest()[:16]
    return dataclasses.replace(lease, labels={**lease.labels, "key": digest})


def check_holder(labels: Mapping[str, str], lease: Lease) -> None:
    """Raise TakenError if what bears these labels belongs to another run, whose lease has the same id."""
    own = labels_of(lease)
    if any(labels.get(name, own.get(name)) != own.get(name) for name in (RUN, KEY)):
        raise TakenError(
            f"another run has a machine under the lease id {lease.id}",
            where=lease.zone,
            fix="start this run again, ids are random; the machine is left to the run that has it",
        )


def shifted(lease: Lease, seconds: float) -> Lease:
    """The lease with its times by a clock that is so far ahead: a machine bears them by its cloud's clock."""
    if not seconds:
        return lease
    labels = dict(lease.labels)
    if (marked := marked_at(lease)) is not None:
        labels[MARKED.removeprefix(PREFIX)] = str(max(0, int(marked + seconds)))
    return dataclasses.replace(
        lease,
        created_at=lease.created_at + seconds,
        expires_at=lease.expires_at + seconds,
        labels=labels,
    )


def lease_from(
    labels: Mapping[str, str],
    *,
    provider: str,
    machine_type: str | None,
    zone: str | None,
    state: LeaseState,
    created_at: float,
    spot: bool = False,
    address: str | None = None,
    price_per_hour: float = 0.0,
) -> Lease | None:
    """The lease that a machine belongs to; None if it does not bear our mark."""
    lease_id = labels.get(LEASE)
    if not lease_id:
        return None
    created = _seconds(labels.get(CREATED), created_at)
    return Lease(
        id=lease_id,
        machine=MachineSpec(name=machine_type or provider, provider=provider, type=machine_type),
        owner=labels.get(OWNER, ""),
        run_id=labels.get(RUN, ""),
        suite=labels.get(SUITE, ""),
        created_at=created,
        # without a date nobody can say that it may stay: it has expired
        expires_at=_seconds(labels.get(EXPIRES), created),
        state=state,
        address=address,
        zone=zone,
        spot=spot,
        price_per_hour=price_per_hour,
        labels={
            name.removeprefix(PREFIX): value for name, value in labels.items() if name.startswith(PREFIX)
        },
    )


def marked_at(lease: Lease) -> float | None:
    """When the reaper first saw this lease expired; None if it has not."""
    value = lease.labels.get(MARKED.removeprefix(PREFIX))
    return float(value) if value is not None and value.isdecimal() else None


def _seconds(value: str | None, otherwise: float) -> float:
    return float(value) if value is not None and value.isdecimal() and len(value) <= 12 else otherwise
