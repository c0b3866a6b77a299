"""Names of suites and machines as people give them: on the command line, as inputs, as labels. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ci_runner.config.settings import Settings
from ci_runner.errors import UsageError
from ci_runner.github.commands import one_line
from ci_runner.model import Event
from ci_runner.plan.context import NO_LABEL, PULL_REQUESTS, SUITE_LABEL, fold, subject_of

ALL = "all"
ONE_SUITE = "test-config"
SUITES = "suites"
MACHINE = "machine"
KNOWN_INPUTS = (ONE_SUITE, SUITES, MACHINE, "commit", "use-python-test-runner")
LISTED = 12  # names in a message; a catalogue of a thousand helps nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asked for by name: suites with where each was named, or everything; and a machine."""

    named: Mapping[str, tuple[str, str | None]]  # suite → (rule, evidence)
    everything: tuple[str, str | None] | None = None
    machine: str | None = None


def requested(event: Event, settings: Settings, names: Sequence[str], *, everything: bool) -> Request:
    """What the command line asks for, else what the event's inputs do. Raises UsageError for what does not exist."""
    check_labels(event, settings)
    by_input = _requested_by_input(event, settings)
    if everything and names:
        raise UsageError(
            "--all and names of suites contradict each other", fix="leave --all away, or leave the names away"
        )
    if everything:
        return Request(named={}, everything=("command line", None), machine=by_input.machine)
    if names:
        named = {suite: ("command line", name) for name in names for suite in resolve(name, settings)}
        return Request(named=named, machine=by_input.machine)
    return by_input


def resolve(name: str, settings: Settings, where: str | None = None) -> list[str]:
    """The suite of this name, else all variants of the suite of this name. Raises UsageError with near misses."""
    if name in settings.suites:
        return [name]
    variants = [suite.name for suite in settings.suites.values() if suite.base == name]
    if variants:
        return variants
    bases = {suite.base for suite in settings.suites.values() if suite.base}
    raise _no_such("suite", name, sorted({*settings.suites, *bases}), where)


def check_labels(event: Event, settings: Settings) -> None:
    """Raise UsageError for a label `test-config/NAME` that names no suite."""
    if event.kind in PULL_REQUESTS:
        for label in dict.fromkeys((*event.labels, *([event.label_added] if event.label_added else []))):
            if fold(label).startswith(SUITE_LABEL):
                name = label[len(SUITE_LABEL) :]
                folded = {
                    fold(known)
                    for suite in settings.suites.values()
                    for known in (suite.name, suite.base or "")
                }
                if fold(name) not in folded or not name:
                    resolve(name, settings, where=f'label "{one_line(label, 120)}"')


def near_labels(event: Event, settings: Settings) -> list[str]:
    """Notes on labels that look like one that acts and are none: a slip of the pen selects nothing by itself."""
    if event.kind not in PULL_REQUESTS:
        return []
    acting = {
        f"{NO_LABEL}{name}" for suite in settings.suites.values() for name in (suite.name, suite.base) if name
    }
    for suite in settings.suites.values():
        when = subject_of(suite).when
        acting |= {*when.labels, *when.skip_labels}
    known = {fold(label): label for label in sorted(acting)}
    notes = []
    for label in event.labels:
        folded = fold(label)
        if folded in known or not folded.startswith((NO_LABEL, "run-")) or len(label) > 100:
            continue
        near = difflib.get_close_matches(folded, known, n=1, cutoff=0.85)
        if near:
            notes.append(
                f'the label "{one_line(label, 100)}" means nothing here; did you mean "{known[near[0]]}"?'
            )
    return notes


def near_inputs(event: Event) -> list[str]:
    """Notes on inputs that look like one that acts and are none."""
    notes = []
    for name in event.inputs:
        near = difflib.get_close_matches(name.lower().replace("_", "-")[:100], KNOWN_INPUTS, n=1, cutoff=0.85)
        if near and name not in KNOWN_INPUTS:
            notes.append(f'the input "{one_line(name, 100)}" means nothing here; did you mean "{near[0]}"?')
    return notes


def _requested_by_input(event: Event, settings: Settings) -> Request:
    one = event.inputs.get(ONE_SUITE, "").strip()
    several = [word.strip() for word in event.inputs.get(SUITES, "").split(",") if word.strip()]
    machine = event.inputs.get(MACHINE, "").strip() or None
    if machine is not None and machine != "local" and machine not in settings.machines:
        raise _no_such("machine", machine, sorted({*settings.machines, "local"}), f"input {MACHINE}")
    by_one = _suites_of([one] if one else [], ONE_SUITE, settings)
    by_several = _suites_of(several, SUITES, settings)
    if by_one is not None and by_several is not None and by_one != by_several:
        raise UsageError(
            f'the inputs contradict each other: {ONE_SUITE} is "{one_line(one, 80)}" '
            f'and {SUITES} is "{one_line(", ".join(several), 80)}"',
            fix=f"give {ONE_SUITE} or {SUITES}, not both",
        )
    chosen = by_one if by_one is not None else by_several
    source = f"input {ONE_SUITE if by_one is not None else SUITES}"
    if chosen is None:
        return Request(named={}, machine=machine)
    if not chosen:
        return Request(named={}, everything=(source, ALL), machine=machine)
    return Request(named={suite: (source, name) for suite, name in chosen.items()}, machine=machine)


def _suites_of(words: Sequence[str], name: str, settings: Settings) -> dict[str, str] | None:
    """Suites with the word that named each; empty for all of them, None if nothing was given."""
    if not words:
        return None
    if ALL in words and ALL not in settings.suites:
        if len(words) > 1:
            raise UsageError(
                f'the input {name} says "{ALL}" and names suites as well', fix=f'give "{ALL}" or the names'
            )
        return {}
    return {suite: word for word in words for suite in resolve(word, settings, f"input {name}")}


def _no_such(what: str, name: str, known: Iterable[str], where: str | None) -> UsageError:
    names = list(known)
    near = difflib.get_close_matches(name[:200], names, n=3, cutoff=0.6)
    if near:
        fix = f"did you mean {' or '.join(map(_quoted, near))}?"
    elif names:
        more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
        fix = f"choose one of {', '.join(names[:LISTED])}{more}"
    else:
        fix = f"write one into ci-runner.toml under [{what}s.NAME]"
    return UsageError(f"no {what} is called {_quoted(one_line(name, 80))}", where=where, fix=fix)


def _quoted(word: str) -> str:
    return f'"{word}"'
