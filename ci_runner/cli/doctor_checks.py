"""The checks of `ci-runner doctor`, one function each; none of them creates or changes anything."""

from __future__ import annotations

import email.utils
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

from ci_runner.cli.clouds import book_of, missing_library
from ci_runner.errors import CiRunnerError, ConfigurationError, MachineError
from ci_runner.providers.checkup import Check, Examines
from ci_runner.providers.registry import provider_named
from ci_runner.providers.stored_keys import stored_keys
from ci_runner.report import words

if TYPE_CHECKING:
    from ci_runner.config.settings import Settings
    from ci_runner.model import MachineSpec
    from ci_runner.providers.base import Offer, Provider

LOCAL = "local"
CLOCK_SECONDS = 60.0  # more than this, and expiries, signatures and tokens go wrong
WEB_SECONDS = 5.0
TOOLS = {
    "git": "apt-get install git",
    "ssh": "apt-get install openssh-client",
    "ssh-keygen": "apt-get install openssh-client",
}
DEFAULT_MINUTES = 60.0  # of a lease that no suite and no cap bounds


def here(settings: Settings, machines: Sequence[MachineSpec], environ: Mapping[str, str]) -> list[Check]:
    """What has to be right on this machine."""
    away = any(machine.provider != LOCAL for machine in machines)
    found = [configuration(settings), *tools(("git", "ssh", "ssh-keygen") if away else ("git",))]
    if away:
        found.append(clock(environ))
    found.append(store(settings))
    if settings.stores.get("caches"):
        found.append(caches(settings))
    return [*found, *(Check.warning("stored key", key.text, key.fix) for key in stored_keys(environ))]


def configuration(settings: Settings) -> Check:
    """Which file it is, and what it has."""
    if not settings.fetched_from:
        return Check.warning(
            "configuration", "no ci-runner.toml here: the defaults count", "write one with: ci-runner init"
        )
    count = (
        f"{words.plural(len(settings.machines), 'machine')}, {words.plural(len(settings.suites), 'suite')}"
    )
    return Check.ok("configuration", f"{count} ({', '.join(map(os.path.basename, settings.fetched_from))})")


def tools(names: Sequence[str], which: Callable[[str], str | None] = shutil.which) -> Iterator[Check]:
    """The programs that are needed here."""
    for name in names:
        path = which(name)
        yield (
            Check.ok(name, path)
            if path
            else Check.failed(name, f"{name} is not installed here", f"install it: {TOOLS[name]}")
        )


def clock(environ: Mapping[str, str], now: Callable[[], float] = time.time) -> Check:
    """This clock beside that of GitHub's API; leases expire and credentials hold by it."""
    url = environ.get("GITHUB_API_URL") or "https://api.github.com"
    if not url.startswith(("https://", "http://127.0.0.1", "http://localhost")):
        return Check.warning("clock", f"cannot be compared: {url} is not https")
    try:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - the scheme was looked at
        with urllib.request.urlopen(request, timeout=WEB_SECONDS) as answer:  # noqa: S310
            text = answer.headers.get("Date", "")
    except urllib.error.HTTPError as error:
        text = error.headers.get("Date", "")
        error.close()
    except OSError as error:
        return Check.warning("clock", f"cannot be compared: {url} does not answer ({error})")
    return clock_check(text, now())


def clock_check(date: str, now: float) -> Check:
    """How far this clock is from a date as HTTP writes it."""
    try:
        found = email.utils.parsedate_to_datetime(date)
    except ValueError:
        return Check.warning("clock", "cannot be compared: no date came back")
    theirs = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    off = now - theirs
    if abs(off) > CLOCK_SECONDS:
        what = f"{words.duration(abs(off))} {'ahead' if off > 0 else 'behind'}"
        return Check.failed("clock", f"this clock is {what}", "set it: timedatectl set-ntp true")
    return Check.ok("clock", "agrees with the web's")


def store(settings: Settings, now: Callable[[], float] = time.time) -> Check:
    """Whether the history can be read, and whether leases in it were never closed."""
    from ci_runner.history.store import DEFAULT

    place = settings.stores.get("history", DEFAULT)
    try:
        late = [lease for lease in book_of(settings).open() if lease.expires_at <= now()]
    except CiRunnerError as error:
        return Check.from_error("history", error)
    except OSError as error:
        text = f"{place} cannot be read: {error.strerror or error}"
        return Check.failed("history", text, "see [stores] history in the configuration")
    blocked = _unwritable(settings.root / place) if "://" not in place else None
    if blocked is not None:
        return Check.failed("history", f"{blocked} cannot be written", "results and leases are kept there")
    if late:
        count = words.plural(len(late), "lease")
        return Check.warning(
            "history", f"{count} past their time and never closed", "look: ci-runner reap --dry-run"
        )
    return Check.ok("history", f"{place} can be read")


def caches(settings: Settings) -> Check:
    """Whether the store of caches answers; without it suites are slower, and not red."""
    from ci_runner.history.chunks import ENTRIES
    from ci_runner.history.store import open_store

    place = settings.stores["caches"]
    try:
        count = sum(1 for _ in open_store(place, settings.root, "caches").list(f"{ENTRIES}/"))
    except CiRunnerError as error:
        where = f" ({error.where})" if error.where else ""
        return Check.warning("caches", f"{error.what}{where}", error.fix)
    except OSError as error:
        text = f"{place} cannot be read: {error.strerror or error}"
        return Check.warning("caches", text, "see [stores] caches in the configuration")
    return Check.ok("caches", f"{place} can be read and holds {words.plural(count, 'cache')}")


def _unwritable(folder: Path) -> Path | None:
    """The folder, or the one that it would be made in, if this user may not write there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return None if os.access(folder, os.W_OK | os.X_OK) else folder


def machine(settings: Settings, wanted: MachineSpec, environ: Mapping[str, str]) -> list[Check]:
    """What can be said of one machine of the configuration before it is leased."""
    if wanted.provider == LOCAL:
        return [Check.ok("provider", "this machine")]
    try:
        provider = provider_named(wanted.provider, environ)
    except CiRunnerError as error:
        return [Check.from_error("provider", error)]
    except ImportError as error:
        return [Check.from_error("provider", missing_library(wanted.provider, error))]
    found = list(_guarded("credentials", lambda: answers(provider, wanted)))
    return [*found, *_guarded("offers", lambda: offers(settings, provider, wanted))]


def _guarded(name: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The checks of one look; an error in it is the last of them."""
    try:
        yield from look()
    except CiRunnerError as error:
        yield Check.from_error(name, error)
    except OSError as error:
        yield Check.from_error(name, MachineError(str(error.strerror or error)))


def answers(provider: Provider, wanted: MachineSpec) -> Iterator[Check]:
    """Who we are to the provider and what we may do: what it says itself, and whether it lists our machines."""
    if isinstance(provider, Examines):
        yield from provider.examine(wanted)
    count = len(provider.leases())
    yield Check.ok("listing", f"{provider.name} answers: {words.plural(count, 'machine')} of ours there now")


def offers(settings: Settings, provider: Provider, wanted: MachineSpec) -> Iterator[Check]:
    """The cheapest way to get the machine within what is allowed, and what the first run costs at most."""
    from ci_runner.providers.choice import arrange
    from ci_runner.providers.prices import cost

    seconds = lease_seconds(settings, wanted)
    choice = arrange(wanted, provider.offers(wanted), seconds=seconds)
    if not choice.offers:
        reasons = "; ".join(map(str, choice.dropped[:5])) or f"{provider.name} has none"
        error = ConfigurationError(
            f"no offer is allowed: {reasons}", fix="raise the cap, or allow other zones or spot"
        )
        yield Check.from_error("offers", error)
        return
    cheapest = min(choice.offers, key=lambda offer: offer.price_per_hour)
    yield Check.ok("offers", f"{words.plural(len(choice.offers), 'offer')}, cheapest {_priced(cheapest)}")
    first = choice.offers[0]
    most = max(cost(offer.price_per_hour, seconds) for offer in choice.offers)
    told = f"tried first: {_priced(first)}; a lease of {words.duration(seconds)} costs {_at_most(most)}"
    yield Check.ok("first run", told)


def _priced(offer: Offer) -> str:
    return f"{offer} at {words.money(offer.price_per_hour)}/h"


def _at_most(dollars: float) -> str:
    return f"at most {words.money(dollars)}" if dollars else "nothing"


def lease_seconds(settings: Settings, wanted: MachineSpec) -> float:
    """How long a lease of this machine may last: its cap, and what its suites may take."""
    suites = [
        suite.timeout_seconds * (1 + suite.retries) + suite.setup_timeout_seconds * len(suite.setup)
        for suite in settings.suites.values()
        if suite.machine == wanted.name
    ]
    longest = max(suites, default=DEFAULT_MINUTES * 60.0)
    return min(longest, wanted.max_minutes * 60.0) if wanted.max_minutes is not None else longest
