"""What `[machines.NAME.options]` may say, provider by provider: an option that nothing reads is an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ci_runner.config.words import near

AWS, GCP, SSH = "aws-ec2", "gcp-tpu", "ssh"
CLOUDS, LEASED = (AWS, GCP), (AWS, GCP, SSH)
LOCAL = "local"

# option → the providers that read it, and what it says
OPTIONS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "accelerators": (LEASED, "How many accelerators the machine must show before a suite runs, if that is not known."),
    "address": (CLOUDS, "`private`: the machine is reached from a network of its own and has no address outside."),
    "address-service": ((AWS,), "The https address that tells the runner its own, for the firewall."),
    "chips-per-host": ((GCP,), "For a type that is not known: the chips of each host."),
    "host-key": (LEASED, "The key of the host; `unchecked` trusts whoever answers."),
    "host-keys": ((SSH,), "The keys of several hosts, in the order of `hosts`."),
    "hosts": ((SSH,), "The hosts of the pool."),
    "identity": (LEASED, "The file of a private key to log in with."),
    "image": ((AWS,), "The image, `ami-…`."),
    "image-parameter": ((AWS,), "The public parameter that names the image."),
    "known-hosts": ((SSH,), "A file with the keys of the hosts."),
    "min-disk-gb": (LEASED, "How many GiB must be free before a suite runs."),
    "network": ((GCP,), "The network of the node."),
    "price-per-hour": (LEASED, "What the machine costs, in dollars."),
    "project": ((GCP,), "The project that pays."),
    "queue-seconds": ((GCP,), "How long a queued request waits."),
    "queued": ((GCP,), "`true`: ask by a queued request."),
    "region": ((AWS,), "The region if no zones are named."),
    "reserved": ((GCP,), "`true`: use a reservation."),
    "runtime-version": ((GCP,), "The software of the node, instead of its type's usual one."),
    "security-group": ((AWS,), "A security group that is there already, instead of one made for the lease."),
    "service-account": ((GCP,), "The service account of the node; one without roles is best."),
    "source-cidr": ((AWS,), "The network from which ssh is let in."),
    "spot-price-per-hour": (LEASED, "What it costs as a spot machine, in dollars."),
    "subnet": ((AWS,), "The subnet of the machine."),
    "subnetwork": ((GCP,), "The subnetwork of the node."),
    "tags": ((GCP,), "Network tags, separated by commas."),
    "user": (LEASED, "Who logs in."),
    "volume-gb": ((AWS,), "The size of the disk."),
}  # fmt: skip


def unread_options(machine: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each option of a machine that its provider does not read, and why that is wrong."""
    options, provider = machine.get("options"), machine.get("provider")
    if not isinstance(options, dict) or not isinstance(provider, str) or provider not in (*LEASED, LOCAL):
        return  # what is wrong with these is said elsewhere
    known = sorted(name for name, (providers, _) in OPTIONS.items() if provider in providers)
    for name in options:
        if name not in known:
            yield str(name), f"{provider} does not read this option{near(str(name), known)}"


def option_lines() -> Iterator[str]:
    """The section of the page about the configuration."""
    yield "## [machines.NAME.options]"
    yield ""
    yield "| option | providers | meaning |"
    yield "|---|---|---|"
    for name, (providers, meaning) in OPTIONS.items():
        yield f"| `{name}` | {', '.join(f'`{provider}`' for provider in providers)} | {meaning} |"
