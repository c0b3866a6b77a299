"""A message as an Adaptive Card for Teams: foreign text stands in runs, which know no Markdown. Pure.

The card: https://adaptivecards.io/explorer/; the limit of a webhook:
https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook
"""

from __future__ import annotations

from typing import Any

from ci_runner.report.budget import in_bytes, in_characters
from ci_runner.report.chat import Line, Message, Section, Span, address, payload_text, versions
from ci_runner.report.markdown import BREAK

LIMIT = 28_000  # 28 KB are allowed; read as bytes of UTF-8 or of UTF-16, whichever is more
VERSION = "1.2"  # the first with RichTextBlock, so that older clients show the card too
TITLE = 300
RUN = 2_000
MARKS = ("• ", "\u2003")  # before the first line of an entry, and before the one below
COLOURS = {"good": "Good", "bad": "Attention", "unsure": "Warning"}


def teams_payload(message: Message, *, brief: bool = False) -> dict[str, Any]:
    """What is posted; less and less important sections as long as there is no room, and with `brief` none."""
    for smaller, left_out in versions(message, brief=brief):
        payload = _payload(smaller, left_out)
        if weight(payload) <= LIMIT:
            break
    return payload


def weight(payload: dict[str, Any]) -> int:
    """How large a service may find a payload."""
    text = payload_text(payload)
    return max(in_bytes(text), 2 * in_characters(text))


def _payload(message: Message, left_out: list[str]) -> dict[str, Any]:
    title = _run(Span(message.title), TITLE, size="Large", weight="Bolder", color=COLOURS[message.tone])
    body = [_block([title])]
    if message.where:
        body.append(_line(message.where, size="Small"))
    for section in message.sections:
        body += _section(section)
    if left_out:
        words = f"left out for lack of room: {', '.join(left_out)}"
        body.append(_block([_run(Span(words), RUN, isSubtle=True, size="Small")], separator=True))
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": VERSION,
        "body": body,
    }
    if address(message.link[1]):
        card["actions"] = [{"type": "Action.OpenUrl", "title": message.link[0], "url": message.link[1]}]
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def _section(section: Section) -> list[dict[str, Any]]:
    blocks = []
    if section.title:
        blocks.append(_block([_run(Span(section.title), TITLE, weight="Bolder")], separator=True))
    for item in section.items:
        blocks += [_line((Span(mark), *line)) for mark, line in zip(MARKS, item, strict=False)]
    if section.more:
        blocks.append(_line((Span(f"… and {section.more:,} more"),), isSubtle=True))
    return blocks


def _line(line: Line, **style: object) -> dict[str, Any]:
    return _block([_run(span, RUN, **style) for span in line if span.text], spacing="Small")


def _block(runs: list[dict[str, Any]], **style: object) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": runs, **style}


def _run(span: Span, limit: int, **style: object) -> dict[str, Any]:
    """A piece of text as it is; only the card's own date functions need to be broken."""
    text = span.text if len(span.text) <= limit else f"{span.text[: limit - 1]}…"
    run: dict[str, Any] = {"type": "TextRun", "text": text.replace("{{", f"{{{BREAK}{{"), **style}
    if span.code:
        run["fontType"] = "Monospace"
    if address(span.url):
        run["selectAction"] = {"type": "Action.OpenUrl", "url": span.url}
    return run
