"""Markdown for GitHub in which foreign text can do nothing: no link, mention, comment, image or structure."""

from __future__ import annotations

import html
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ci_runner.github.commands import neutralise, one_line
from ci_runner.report import words

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
# Escaped wherever it could mean something; text never stands at the start of a line, so list and heading marks
# stay, and an underscore between letters is none.
_SPECIAL = re.compile(r"[\\`*\[\]<>#|~&@$]|:(?=\S)|(?<![^\W_])_|_(?![^\W_])")
# GitHub looks for these after the Markdown is read, so an entity does not stop it; a zero-width space does.
_REFERENCE = re.compile(
    r"@(?=\w)|\bGH-(?=\d)|#(?=\d)|:(?=//)|\b(?:www(?=\.)|(?:mailto|xmpp)(?=:))|\b[0-9a-f]{7}(?=[0-9a-f]{0,33}\b)",
    re.IGNORECASE,
)
_TICKS = re.compile("`+")
BREAK = "\u200b"
MESSAGE_LIMIT = 300


class Trusted(str):
    """Markdown that we wrote or have escaped already."""

    __slots__ = ()


def text(foreign: object, limit: int = MESSAGE_LIMIT) -> Trusted:
    """Foreign text as one line of plain text: every character that means something becomes an entity."""
    if isinstance(foreign, Trusted):
        return foreign
    line = one_line(str(foreign), limit)
    line = _REFERENCE.sub(lambda match: match[0] + BREAK, line)
    return Trusted(_SPECIAL.sub(lambda match: f"&#{ord(match[0])};", line))


def html_text(foreign: object, limit: int = MESSAGE_LIMIT) -> Trusted:
    """Foreign text as one line inside an HTML element that stands in Markdown."""
    line = _REFERENCE.sub(lambda match: match[0] + BREAK, one_line(str(foreign), limit))
    return Trusted(html.escape(line, quote=False))


def code(foreign: object, limit: int = MESSAGE_LIMIT, *, cell: bool = False) -> Trusted:
    """Foreign text as a code span; in a table's cell a pipe needs a backslash even there."""
    line = no_comment(one_line(str(foreign), limit)).strip() or "(empty)"
    longest = max((len(run) for run in _TICKS.findall(line)), default=0)
    fence = "`" * (longest + 1)
    if cell:
        line = line.replace("\\|", "\\ |").replace("|", "\\|")
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return Trusted(f"{fence}{pad}{line}{pad}{fence}")


def cell(foreign: object) -> Trusted:
    """Foreign text as a code span in a table."""
    return code(foreign, 120, cell=True)


def block(foreign: object, language: str = "text") -> Trusted:
    """Foreign lines as a fenced block whose fence is longer than any run of backticks in it."""
    lines = no_comment(neutralise(str(foreign))).strip("\n")
    longest = max((len(run) for run in _TICKS.findall(lines)), default=0)
    fence = "`" * max(3, longest + 1)
    return Trusted(f"{fence}{language}\n{lines}\n{fence}")


def no_comment(foreign: str) -> str:
    """Text without the beginning of an HTML comment: nothing foreign may look like one of our hidden markers."""
    return foreign.replace("<!--", f"<{BREAK}!--")


def plain_words(markdown: str) -> str:
    """A line of our Markdown as text: entities are characters again, marks are gone."""
    return one_line(html.unescape(re.sub(r"[`*]", "", markdown)).replace(BREAK, ""), 300)


def _finalize(value: object) -> object:
    """Whatever a template prints is escaped unless it is ours; numbers that we made are ours."""
    return value if isinstance(value, (Trusted, int)) else text(value)


@cache
def environment() -> Environment:
    """The Jinja environment of Markdown templates: foreign text is escaped by default."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # noqa: S701 - Markdown; `finalize` escapes every value
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters.update(
        text=text, html=html_text, code=code, cell=cell, block=block, ours=Trusted, duration=words.duration
    )
    return found
