"""Globs over changed paths and branches: each pattern is matched once, however many suites use it. Pure.

`*` and `?` stay within a folder, `**` is any number of folders, `[ab]` and `{a,b}` are alternatives, a trailing `/`
means everything below, and `!` takes away what earlier patterns gave: the last pattern that matches decides. A list
that starts with `!` starts from everything.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

MOST_ALTERNATIVES = 64  # of `{a,b}` in one pattern; beyond that the braces are taken as they stand
_SPECIAL = re.compile(r"\*+|\?|\[[!^]?\]?[^]/]*\]")
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Alternative:
    """One pattern without braces, and what a matching path must begin with and contain (to find candidates fast)."""

    regex: re.Pattern[str]
    prefix: str
    literals: tuple[str, ...]
    everything_below: bool  # the pattern is the prefix and `**`: no path needs a look


@dataclass(frozen=True, slots=True)
class Glob:
    """A compiled pattern: a path matches if one of the alternatives does."""

    alternatives: tuple[Alternative, ...]

    def matches(self, text: str) -> bool:
        """Whether the whole text matches."""
        return any(one.regex.fullmatch(text) for one in self.alternatives)


@lru_cache(maxsize=16384)
def compile_glob(pattern: str) -> Glob:
    """The pattern without its `!`; every text is a valid pattern."""
    return Glob(tuple(map(_compile, _alternatives(pattern))))


def _compile(text: str) -> Alternative:
    segments = _segments(text)
    prefix, literals = _hints(segments)
    return Alternative(
        regex=re.compile(_translate(segments), re.DOTALL),
        prefix=prefix,
        literals=literals,
        everything_below="/".join(segments) == prefix + "**",
    )


def split_sign(pattern: str) -> tuple[bool, str]:
    r"""Whether the pattern gives (True) or takes away, and its glob; `\!` begins a name with an exclamation mark."""
    if pattern.startswith("!"):
        return False, pattern[1:]
    return True, pattern[1:] if pattern.startswith("\\!") else pattern


def matches(patterns: Sequence[str], text: str) -> bool:
    """Whether one text, such as a branch, is in what a list of patterns gives."""
    result = bool(patterns) and not split_sign(patterns[0])[0]
    for pattern in patterns:
        gives, glob = split_sign(pattern)
        if gives != result and compile_glob(glob).matches(text):
            result = gives
    return result


class PathIndex:
    """Paths in order, and sets of them as the bits of a number: bit i is the i-th path."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = sorted(set(paths))
        self.everything = (1 << len(self.paths)) - 1
        self._masks: dict[str, int] = {}
        self._holding: dict[str, int] = {}
        self._starts: list[int] = []
        self._text = ""

    def given(self, patterns: Sequence[str]) -> int:
        """The paths that a list of patterns gives; the last pattern that matches decides."""
        mask = self.everything if patterns and not split_sign(patterns[0])[0] else 0
        for pattern in patterns:
            gives, glob = split_sign(pattern)
            mask = mask | self.mask(glob) if gives else mask & ~self.mask(glob)
        return mask

    def spoken_of(self, patterns: Sequence[str]) -> int:
        """The paths that a list of patterns gives or takes away: somebody has thought of them."""
        mask = self.given(patterns)
        for pattern in patterns:
            mask |= self.mask(split_sign(pattern)[1])
        return mask

    def mask(self, glob: str) -> int:
        """The paths that match one pattern."""
        known = self._masks.get(glob)
        if known is None:
            known = 0
            for alternative in compile_glob(glob).alternatives:
                known |= self._match(alternative)
            self._masks[glob] = known
        return known

    def first(self, mask: int) -> str:
        """The first path of a set that is not empty."""
        return self.paths[(mask & -mask).bit_length() - 1]

    def names(self, mask: int) -> list[str]:
        """The paths of a set, in order."""
        return [self.paths[index] for index in _places(mask)]

    def _match(self, glob: Alternative) -> int:
        size = len(glob.prefix)
        low = bisect_left(self.paths, glob.prefix)
        high = bisect_right(self.paths, glob.prefix, lo=low, key=lambda path: path[:size])
        if glob.everything_below:
            if low < high and self.paths[low] == glob.prefix:
                low += 1
            return (1 << high) - (1 << low)
        candidates = (1 << high) - (1 << low)
        for literal in glob.literals:
            if not candidates:
                break
            candidates &= self._that_hold(literal)
        bits = bytearray((high + 7) // 8)
        for index in _places(candidates):
            if glob.regex.fullmatch(self.paths[index]):
                bits[index >> 3] |= 1 << (index & 7)
        return int.from_bytes(bits, "little")

    def _that_hold(self, literal: str) -> int:
        """The paths that contain a text; many patterns ask for the same ones."""
        known = self._holding.get(literal)
        if known is not None:
            return known
        if not self._starts:
            self._join()
        starts, text = self._starts, self._text
        bits = bytearray((len(self.paths) + 7) // 8)
        at = text.find(literal)
        while at >= 0:
            index = bisect_right(starts, at) - 1
            bits[index >> 3] |= 1 << (index & 7)
            at = text.find(literal, starts[index + 1])
        known = self._holding[literal] = int.from_bytes(bits, "little")
        return known

    def _join(self) -> None:
        self._text = "\0".join(self.paths)  # no path has a zero byte
        at = 0
        for path in self.paths:
            self._starts.append(at)
            at += len(path) + 1
        self._starts.append(at)


def _places(mask: int) -> Iterator[int]:
    """The numbers of the bits that are set, lowest first."""
    digits = bin(mask)[:1:-1]
    at = digits.find("1")
    while at >= 0:
        yield at
        at = digits.find("1", at + 1)


def _alternatives(pattern: str) -> list[str]:
    """The patterns that `{a,b}` stands for."""
    texts = [pattern]
    while (found := _BRACES.search(texts[0])) is not None:
        count = found[1].count(",") + 1
        if len(texts) * count > MOST_ALTERNATIVES:
            return [pattern]
        # Every text has the same braces still to come, because the first ones are replaced in all of them.
        texts = [
            text[: match.start()] + choice + text[match.end() :]
            for text in texts
            if (match := _BRACES.search(text)) is not None
            for choice in match[1].split(",")
        ]
    return texts


def _segments(pattern: str) -> list[str]:
    text = pattern.removeprefix("./").lstrip("/")
    if text.endswith("/"):
        text += "**"
    segments: list[str] = []
    for segment in text.split("/"):
        if segment != "**" or segments[-1:] != ["**"]:
            segments.append(segment)
    return segments


def _translate(segments: Sequence[str]) -> str:
    """A regular expression for the whole path; atomic groups keep it from trying again what cannot help.

    Between two `**`, the leftmost place of what stands there is as good as any other, so it is never given back;
    likewise between two `*` of one segment.
    """
    runs: list[list[str]] = [[]]
    for segment in segments:
        if segment == "**":
            runs.append([])
        else:
            runs[-1].append(_segment(segment))
    if len(runs) == 1:
        return "/".join(runs[0])
    first, *middle, last = runs
    source = "".join(f"{segment}/" for segment in first)
    for run in middle:
        source += f"(?>(?:[^/]+/)*?{'/'.join(run)}/)"
    return source + ("(?:.*/)?" + "/".join(last) if last else ".+")


def _segment(segment: str) -> str:
    """One segment: between two stars the leftmost match is kept."""
    pieces = [""]
    at = 0
    for special in _SPECIAL.finditer(segment):
        pieces[-1] += re.escape(segment[at : special.start()])
        at = special.end()
        if special[0].startswith("*"):
            pieces.append("")
        else:
            pieces[-1] += "[^/]" if special[0] == "?" else _character_class(special[0])
    pieces[-1] += re.escape(segment[at:])
    if len(pieces) == 1:
        return pieces[0]
    first, *middle, last = pieces
    return first + "".join(f"(?>[^/]*?{piece})" for piece in middle) + f"[^/]*{last}"


def _character_class(text: str) -> str:
    inner = text[1:-1]
    negated = inner[:1] in ("!", "^")
    inner = inner[1:] if negated else inner
    if not inner:
        return re.escape(text)
    parts = re.findall(r"(.)-(.)|(.)", inner, re.DOTALL)
    listed = "".join(
        f"{re.escape(low)}-{re.escape(high)}" if low and low <= high else "" if low else re.escape(single)
        for low, high, single in parts
    )
    if not listed:
        return "[^/]" if negated else "(?!)"
    return f"(?!/)[{'^' if negated else ''}{listed}]"


def _hints(segments: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """What every matching path begins with, and the texts after that which it must contain, longest first."""
    prefix = ""
    rest: list[str] = []
    for place, segment in enumerate(segments):
        fixed = _SPECIAL.split(segment)
        if rest or len(fixed) > 1:
            if not rest:
                prefix += fixed.pop(0)
            rest += ["", *fixed]
        else:
            prefix += segment + ("/" if place < len(segments) - 1 else "")
    return prefix, tuple(sorted({text for text in rest if text}, key=lambda text: (-len(text), text)))
