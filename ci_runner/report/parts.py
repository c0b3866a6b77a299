"""The parts of a comment: many jobs, one comment on the pull request. Pure.

Each part stands between two hidden markers with its numbers, so that any job can put its own part beside those of the
others. Foreign text cannot contain a marker: `<!--` never survives the escaping.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ci_runner import codec, errors
from ci_runner.model import Counts
from ci_runner.report import view, words
from ci_runner.report.budget import in_characters
from ci_runner.report.markdown import text
from ci_runner.results.whole import worst

LIMIT = 65_536  # of a comment's body, in characters
KEY = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_PART = re.compile(
    r"<!-- ci-runner:part (?P<numbers>\{[^<>]*\}) -->\n(?P<body>.*?)\n?<!-- ci-runner:end -->", re.DOTALL
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One job's share of a comment: its numbers for the first line, and its Markdown."""

    key: str
    commit: str = ""
    started: float = 0.0
    counts: Counts = dataclasses.field(default_factory=Counts)
    new: int | None = None  # new failures; None: there is nothing to compare with
    seconds: float = 0.0
    cost: float = 0.0
    exit_code: int = 0
    word: str = "passed"
    why: str = ""  # the first words if nothing was tested; escaped already
    body: str = ""


def marker(key: str) -> str:
    """The hidden line by which a comment of ours is found again, beside its author."""
    return f"<!-- ci-runner:comment {key} -->"


def assemble(key: str, parts: Sequence[Part], *, room: int = LIMIT) -> str:
    """The whole comment: one first line over all parts, then each part; long ones shrink to their first lines."""
    ordered = sorted(parts, key=lambda part: (part.exit_code == 0, part.key))
    first = f"{marker(key)}\n### {headline(ordered)}\n"
    blocks = {part.key: _block(part, part.body, titled=len(parts) > 1) for part in ordered}
    left = room - in_characters(first) - sum(1 + in_characters(block) for block in blocks.values())
    for part in sorted(ordered, key=lambda part: (part.exit_code != 0, -len(part.body))):
        if left >= 0:
            break
        short = _block(part, "details left out for lack of room", titled=True)
        left += in_characters(blocks[part.key]) - in_characters(short)
        blocks[part.key] = short
    return first + "".join("\n" + blocks[part.key] for part in ordered) if left >= 0 else first


def _block(part: Part, body: str, *, titled: bool) -> str:
    numbers = json.dumps(codec.plain(dataclasses.replace(part, body="")), separators=(",", ":"))
    numbers = numbers.replace("<", "\\u003c").replace(">", "\\u003e").replace("--", "-\\u002d")
    symbol, line = first_line(part)
    title = f"#### {symbol} {text(part.key)}: {line}\n\n" if titled else ""
    return f"<!-- ci-runner:part {numbers} -->\n{title}{body}\n<!-- ci-runner:end -->\n"


def parts_in(body: str) -> list[Part]:
    """The parts of a comment that `assemble` made; what does not look like one is no part."""
    found = []
    for match in _PART.finditer(body.replace("\r\n", "\n")):
        try:
            numbers = json.loads(match["numbers"])
            part = codec.build(Part, {**numbers, "counts": None})
            part = dataclasses.replace(part, counts=codec.build(Counts, numbers["counts"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        if KEY.fullmatch(part.key):
            found.append(dataclasses.replace(part, body=_without_title(match["body"], part)))
    return found


def _without_title(body: str, part: Part) -> str:
    first, _, rest = body.partition("\n\n")
    return rest if first.startswith("#### ") and f" {text(part.key)}: " in first else body


def merged(parts: Sequence[Part], mine: Part) -> list[Part]:
    """The parts with mine in place of an older one of its key; the newest commit's run is the one that counts."""
    if any(part.commit != mine.commit and part.started > mine.started for part in parts):
        return list(parts)
    same = [part for part in parts if part.commit == mine.commit]
    if any(part.key == mine.key and part.started > mine.started for part in same):
        return same
    return [*(part for part in same if part.key != mine.key), mine]


def headline(parts: Sequence[Part]) -> str:
    """The first line over all parts: enough to decide whether to read on."""
    if len(parts) == 1:
        return " ".join(first_line(parts[0]))
    untested = [part for part in parts if part.word not in ("passed", "failed", "nothing due")]
    counts = Counts(**{name: sum(getattr(part.counts, name) for part in parts) for name in Counts.__slots__})
    new = None if any(part.new is None for part in parts) else sum(part.new or 0 for part in parts)
    whole = Part(
        key="all",
        counts=counts,
        new=new,
        seconds=max(part.seconds for part in parts),
        cost=sum(part.cost for part in parts),
        exit_code=worst(part.exit_code for part in parts),
        word=untested[0].word
        if untested
        else "failed"
        if any(part.exit_code for part in parts)
        else "passed",
        why=f"{text(untested[0].key)}: {untested[0].why}" if untested else "",
    )
    return " ".join(first_line(whole))


def first_line(part: Part) -> tuple[str, str]:
    """A symbol, and the verdict in words and numbers."""
    counts = part.counts
    red = counts.failed + counts.errored
    told = []
    if part.word not in ("passed", "failed"):
        told.append(f"{part.word}: {part.why}" if part.why and part.why != part.word else part.word)
    if part.new:
        told.append(words.plural(part.new, "new failure"))
    if part.new is None and red:
        told.append(f"{words.number(red)} failed")
    elif part.new is not None and red > part.new:
        told.append(f"{words.number(red - part.new)} still broken")
    for value, name in (
        (counts.missing, "missing"),
        (counts.passed, "passed"),
        (counts.flaky, "flaky"),
        (counts.quarantined, "quarantined"),
    ):
        told += [f"{words.number(value)} {name}"] if value else []
    told += [words.duration(part.seconds)] + ([words.money(part.cost)] if part.cost else [])
    symbol = view.SYMBOLS.get(part.word, "⚠️")
    if part.word == "passed" and part.exit_code != errors.OK:
        symbol = view.SYMBOLS["failed"]
    return symbol, " · ".join(told)
