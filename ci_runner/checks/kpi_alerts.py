"""What a bad figure leads to: a flag turned off or on again, an issue, a line in the report. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ci_runner.checks.kpi import (
    FORMATS,
    Kpi,
    broke,
    counts_for_runner,
    flag_name,
    performance,
    reliability,
    started_python,
    succeeded,
)
from ci_runner.config.settings import Alert, Settings
from ci_runner.history.record import Record
from ci_runner.plan.flags import RETIRED, Overrides

DEFAULT_ALERTS = (
    Alert(name="Python Runner High Fallback Rate", metric="fallback-rate", above=0.05, action="disable-flag"),
    Alert(name="Python Runner Performance Regression", metric="time-ratio", above=1.2, action="issue"),
)
EVIDENCE_RUNS = 10
CODE = re.compile(r"[a-z][a-z-]{0,39}")
RUN_ID = re.compile(r"[0-9a-f-]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """An alert whose limit a figure is over (or under), with certainty or not."""

    flag: str
    alert: Alert
    kpi: Kpi
    certain: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOff:
    """Give everyone under this flag the shell runner, until a person or enough clean runs say otherwise."""

    flag: str
    reason: str
    evidence: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOn:
    """Lift the override of a flag."""

    flag: str
    reason: str
    shadow_runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One issue for one flag; `key` is a hidden mark in its body by which it is found and updated."""

    key: str
    title: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """All that the figures ask for."""

    breaches: tuple[Breach, ...] = ()
    turn_off: tuple[TurnOff, ...] = ()
    turn_on: tuple[TurnOn, ...] = ()
    issues: tuple[Issue, ...] = ()


def decide(
    records: Sequence[Record],
    settings: Settings,
    overrides: Overrides,
    cleared: Mapping[str, str] | None = None,
) -> Decisions:
    """What to do, flag by flag. `cleared` says when a flag's override was lifted last: older runs no longer count."""
    by_flag: dict[str, list[Record]] = {}
    for record in records:
        by_flag.setdefault(flag_name(record, settings), []).append(record)
    breaches: list[Breach] = []
    offs: list[TurnOff] = []
    ons: list[TurnOn] = []
    issues: list[Issue] = []
    for flag in sorted({*by_flag, *overrides.active}):
        own = [record for record in by_flag.get(flag, ()) if record.timestamp > (cleared or {}).get(flag, "")]
        if flag in overrides.active:
            ons += _shadow(flag, own, settings, overrides.active[flag].at)
            continue
        found = find_breaches(flag, own, settings.alerts or DEFAULT_ALERTS)
        breaches += found
        certain = [breach for breach in found if breach.certain]
        switch = [breach for breach in certain if breach.alert.action == "disable-flag"]
        off = None
        if switch and settings.phase != RETIRED:
            off = TurnOff(flag=flag, reason=switch[0].text, evidence=evidence(switch[0], own))
            offs.append(off)
        if any(breach.alert.action in ("issue", "disable-flag") for breach in certain):
            issues.append(issue_of(flag, certain, own, off is not None, settings.shadow_runs))
    return Decisions(breaches=tuple(breaches), turn_off=tuple(offs), turn_on=tuple(ons), issues=tuple(issues))


def find_breaches(flag: str, records: Sequence[Record], alerts: Sequence[Alert]) -> list[Breach]:
    """The alerts whose limit the estimate is beyond; certain are those where the nearer bound is too."""
    kpis = {kpi.name: kpi for kpi in (*reliability(records), *performance(records))}
    found = []
    for alert in alerts:
        kpi = kpis.get(alert.metric)
        if kpi is None or kpi.interval is None or kpi.n == 0:
            continue
        interval, form = kpi.interval, FORMATS[kpi.unit]
        for limit, sign, word, near in (
            (alert.above, 1, "over", interval.low),
            (alert.below, -1, "under", interval.high),
        ):
            if limit is None or sign * (interval.estimate - limit) <= 0:
                continue
            text = (
                f"{kpi.name} is {form(interval.estimate)} over {kpi.n} runs "
                f"(at {'least' if sign > 0 else 'most'} {form(near)}), {word} the limit of {form(limit)}"
            )
            certain = sign * (near - limit) > 1e-9  # a bound is computed to about that
            found.append(Breach(flag=flag, alert=alert, kpi=kpi, certain=certain, text=text))
    return found


def _shadow(flag: str, records: Sequence[Record], settings: Settings, since: str) -> list[TurnOn]:
    """Lift the override after enough clean runs of the python runner that came after it, none but clean ones."""
    later = sorted(
        (record for record in records if record.timestamp > since and counts_for_runner(record)),
        key=lambda record: record.timestamp,
    )
    clean = 0
    for record in later:
        clean = clean + 1 if succeeded(record) else 0
    if clean < settings.shadow_runs:
        return []
    return [TurnOn(flag=flag, reason=f"{clean} clean shadow runs in a row", shadow_runs=clean)]


def evidence(breach: Breach, records: Sequence[Record]) -> dict[str, object]:
    """The numbers behind a decision, and the latest runs that speak for it."""
    interval = breach.kpi.interval
    assert interval is not None
    bad = [record for record in records if broke(record)]
    latest = sorted(bad, key=lambda record: record.timestamp, reverse=True)[:EVIDENCE_RUNS]
    return {
        "metric": breach.kpi.name,
        "estimate": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "runs": breach.kpi.n,
        "reasons": dict(Counter(reason_code(record) for record in bad)),
        "latest": [record.run_id for record in latest],
    }


def reason_code(record: Record) -> str:
    """The code of a fallback's reason; anything else in it is foreign text."""
    match = CODE.match(record.fallback_reason or "")
    return match[0] if match else "no-fallback"


def issue_of(
    flag: str, breaches: Sequence[Breach], records: Sequence[Record], is_off: bool, shadow_runs: int
) -> Issue:
    """The text of the one issue about a flag; written again, it replaces the one before."""
    key = f"ci-runner-kpi:{flag}"
    lines = [f"<!-- {_plain(key)} -->", ""]
    lines += [f"- **{_plain(breach.alert.name)}**: {breach.text}" for breach in breaches]
    runs = [record for record in records if started_python(record)]
    bad = [record for record in runs if broke(record)]
    if bad:
        lines += ["", "| why the runner broke | runs |", "|---|---|"]
        lines += [f"| `{code}` | {number} |" for code, number in Counter(map(reason_code, bad)).most_common()]
        latest = sorted(bad, key=lambda record: record.timestamp, reverse=True)[:EVIDENCE_RUNS]
        shown = [f"`{record.run_id}`" for record in latest if RUN_ID.fullmatch(record.run_id)]
        lines += ["", f"Latest: {', '.join(shown)}. Read one with `ci-runner history show ID`."]
    lines.append("")
    if is_off:
        lines.append(
            f"The flag is off: every suite under it runs by the shell runner. It comes back after {shadow_runs} clean "
            f"shadow runs in a row (`ci-runner ab SUITE` makes some), or with `ci-runner kpi --clear {_plain(flag)}`."
        )
    else:
        lines.append("The flag is as it was; nothing has been switched.")
    return Issue(
        key=key, title=f"The python runner misses its targets ({_plain(flag)})", body="\n".join(lines) + "\n"
    )


def _plain(text: str) -> str:
    """Configured text without anything that Markdown or HTML would take for itself."""
    return re.sub(r"[^\w .,:/%+-]", "?", text).replace("--", "-?")
