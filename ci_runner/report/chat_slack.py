"""A message as Slack's Block Kit: every foreign character is text, nobody is called, nothing is unfurled. Pure.

Limits: https://docs.slack.dev/reference/block-kit/blocks (50 blocks, 3,000 characters a text, 150 a header);
escaping: https://docs.slack.dev/messaging/formatting-message-text
"""

from __future__ import annotations

import re
from typing import Any

from ci_runner.report.budget import in_characters
from ci_runner.report.chat import Line, Message, Section, Span, address, versions
from ci_runner.report.markdown import BREAK

BLOCKS = 50
TEXT = 3_000
HEADER = 150
MARKS = ("• ", "    ")  # before the first line of an entry, and before the one below
ROOM = 16_000  # of all texts together; Slack takes more, a reader does not
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Legacy settings of a workspace turn these into mentions, channels and links even in text that is escaped.
_REFERENCE = re.compile(
    r"[@#](?=\w)|:(?=//)|\b(?:www(?=\.)|(?:mailto|xmpp|tel|javascript)(?=:))", re.IGNORECASE
)
# Bold, italic and struck text, code and emoji have no escape: these look the same and mean nothing.
_LOOKALIKE = str.maketrans({"*": "∗", "~": "∼", "`": "ˋ"})
_EMPHASIS = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # between letters an underscore is just that
_EMOJI = re.compile(r":(?=[\w+'-]+:)")


def slack_payload(message: Message, *, brief: bool = False) -> dict[str, Any]:
    """What is posted; less and less important sections as long as there is no room, and with `brief` none."""
    for smaller, left_out in versions(message, brief=brief):
        payload = _payload(smaller, left_out)
        if _weight(payload) <= ROOM:
            break
    return payload


def escaped(text: str, limit: int, *, code: bool = False) -> str:
    """Foreign text within a limit that counts what is sent; a cut never goes through an entity."""
    if not code:
        text = _REFERENCE.sub(lambda match: match[0] + BREAK, text)
    pieces: list[str] = []
    used = 0
    for character in text:
        piece = _ENTITIES.get(character, character)
        size = in_characters(piece)
        if used + size > limit - 1:
            return "".join(pieces) + "…" if limit > 0 else ""
        pieces.append(piece)
        used += size
    return "".join(pieces)


def _payload(message: Message, left_out: list[str]) -> dict[str, Any]:
    title = _plain(message.title, HEADER)
    blocks: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": title, "emoji": False},
        }
    ]
    if message.where:
        blocks.append({"type": "context", "elements": [_markdown(_line(message.where, TEXT))]})
    sections = [_section(section) for section in message.sections]
    last = _line((Span(message.link[0], url=message.link[1]),), TEXT) if message.link[1] else ""
    if left_out:
        last = f"{last + ' · ' if last else ''}left out for lack of room: {', '.join(left_out)}"
    blocks += [block for block in sections if block][: BLOCKS - len(blocks) - 1]
    if last:
        blocks.append({"type": "context", "elements": [_markdown(last)]})
    return {
        "text": title,  # what a notification on a telephone shows
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _section(section: Section) -> dict[str, Any]:
    """One block; entries that do not fit are counted and left out."""
    text = f"*{_plain(section.title, HEADER)}*\n" if section.title else ""
    room, more = TEXT - 60, section.more
    for number, item in enumerate(section.items):
        made = "".join(f"{mark}{_line(line, room)}\n" for mark, line in zip(MARKS, item, strict=False))
        if in_characters(text + made) > room:
            more += len(section.items) - number
            break
        text += made
    text += f"… and {more:,} more" if more else ""
    return {"type": "section", "text": _markdown(text.rstrip("\n"))} if text else {}


def _line(line: Line, limit: int) -> str:
    """One line; a piece that does not fit ends it."""
    made = ""
    for span in line:
        left = limit - in_characters(made)
        if left < 8:
            break
        piece = _span(span, left - 1)
        made += BREAK + piece if _is_joined(made, piece) else piece
    return made


def _is_joined(before: str, after: str) -> bool:
    """Whether two pieces, harmless by themselves, are a mention or an address side by side."""
    tail, whole = len(before[-12:]), before[-12:] + after[:12]
    found = (match for pattern in (_REFERENCE, _EMOJI) for match in pattern.finditer(whole))
    # a match ends before what it looks ahead at: up to two slashes, or the letters of an emoji
    return any(match.start() < tail <= match.end() + 12 for match in found)


def _span(span: Span, limit: int) -> str:
    if span.url and address(span.url):
        url = span.url.replace("&", "&amp;")
        label = _plain(span.text.replace("|", "∣"), limit - in_characters(url) - 3)
        return f"<{url}|{label}>" if label else ""
    if span.code:
        inside = escaped(span.text.replace("`", "ˋ").strip(), limit - 2, code=True)
        return f"`{inside}`" if inside else ""
    return _plain(span.text, limit)


def _plain(text: str, limit: int) -> str:
    shown = _EMPHASIS.sub("\uff3f", _EMOJI.sub(f":{BREAK}", text)).translate(_LOOKALIKE)
    if shown.lstrip().startswith(">"):
        shown = BREAK + shown  # it would begin a quotation
    return escaped(shown, limit)


def _markdown(text: str) -> dict[str, Any]:
    return {
        "type": "mrkdwn",
        "text": text,
        "verbatim": True,
    }  # Slack makes no mention or link of its own of it


def _weight(payload: dict[str, Any]) -> int:
    total = 0
    for block in payload["blocks"]:
        total += in_characters(block["text"]["text"] if "text" in block else block["elements"][0]["text"])
    return total
