"""Looks at chat messages as the services do: their schema, their limits, and anything in them that would act."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

from ci_runner.report.budget import in_characters
from ci_runner.report.chat_slack import BLOCKS, HEADER, TEXT
from ci_runner.report.chat_teams import LIMIT, weight

URL = {"type": "string", "pattern": "^https?://"}
STYLES = {
    "size": {"enum": ["Small", "Default", "Medium", "Large", "ExtraLarge"]},
    "weight": {"enum": ["Lighter", "Default", "Bolder"]},
    "color": {"enum": ["Default", "Dark", "Light", "Accent", "Good", "Warning", "Attention"]},
    "fontType": {"enum": ["Default", "Monospace"]},
    "isSubtle": {"type": "boolean"},
}
OPEN = {
    "type": "object",
    "properties": {
        "type": {"const": "Action.OpenUrl"},
        "url": URL,
        "title": {"type": "string", "minLength": 1},
    },
    "required": ["type", "url"],
    "additionalProperties": False,
}
RUN = {
    "type": "object",
    "properties": {
        "type": {"const": "TextRun"},
        "text": {"type": "string", "minLength": 1},
        "selectAction": OPEN,
    }
    | STYLES,
    "required": ["type", "text"],
    "additionalProperties": False,
}
BLOCK = {
    "type": "object",
    "properties": {
        "type": {"const": "RichTextBlock"},
        "inlines": {"type": "array", "items": RUN, "minItems": 1},
        "separator": {"type": "boolean"},
        "spacing": {"enum": ["Default", "None", "Small", "Medium", "Large", "ExtraLarge", "Padding"]},
    },
    "required": ["type", "inlines"],
    "additionalProperties": False,
}
# The elements that we use, with the names and values of version 1.2 of the card.
CARD = {
    "type": "object",
    "properties": {
        "$schema": {"const": "http://adaptivecards.io/schemas/adaptive-card.json"},
        "type": {"const": "AdaptiveCard"},
        "version": {"const": "1.2"},
        "body": {"type": "array", "items": BLOCK, "minItems": 1},
        "actions": {"type": "array", "items": OPEN | {"required": ["type", "url", "title"]}, "maxItems": 6},
    },
    "required": ["type", "version", "body"],
    "additionalProperties": False,
}
MESSAGE = {
    "type": "object",
    "properties": {
        "type": {"const": "message"},
        "attachments": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "contentType": {"const": "application/vnd.microsoft.card.adaptive"},
                    "contentUrl": {"type": "null"},
                    "content": CARD,
                },
                "required": ["contentType", "content"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["type", "attachments"],
    "additionalProperties": False,
}
LINK = re.compile(r"<(https?://[^<>|\s\"]+)\|([^<>|]+)>")


def slack_texts(payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every text object of a message."""
    for block in payload["blocks"]:
        yield from ([block["text"]] if "text" in block else block["elements"])


def check_slack(payload: dict[str, Any]) -> None:
    """What Slack demands, and what nothing foreign may do."""
    assert set(payload) == {"text", "blocks", "unfurl_links", "unfurl_media"}
    assert payload["unfurl_links"] is payload["unfurl_media"] is False
    assert 1 <= len(payload["blocks"]) <= BLOCKS
    assert 1 <= in_characters(payload["text"]) <= HEADER
    for block in payload["blocks"]:
        assert block["type"] in ("header", "section", "context")
    for text in slack_texts(payload):
        limit = HEADER if text["type"] == "plain_text" else TEXT
        assert 1 <= in_characters(text["text"]) <= limit
        assert text.get("verbatim") is True or text["emoji"] is False
        assert active_in_slack(text["text"]) == []
    assert active_in_slack(payload["text"]) == []


def active_in_slack(text: str) -> list[str]:
    """What Slack would make of it beside text: anything in angle brackets, and what legacy settings turn into calls."""
    rest = LINK.sub(r" ", text)
    found = re.findall(r"[<>]", rest)
    found += re.findall(r"&(?!(?:amp|lt|gt);)", rest)
    bare = re.sub(r"`[^`\n]*`", "", rest)
    found += re.findall(r"[@#]\w|://|\bwww\.|mailto:", bare)
    found += ["odd backtick"] if any(line.count("`") % 2 for line in rest.split("\n")) else []
    found += re.findall(r"~", bare) + re.findall(r"(?<![^\W_])_|_(?![^\W_])", bare)
    found += re.findall(r":[\w+-]+:", bare)
    for line in bare.splitlines():
        heading = re.fullmatch(r"\*[^*]+\*", line)
        found += ["bold"] if "*" in line and not heading else []
        found += ["quotation"] if line.startswith(("&gt;", ">")) else []
    return found


def check_teams(payload: dict[str, Any]) -> None:
    """What Teams demands, and that foreign text stands only where nothing is read in it."""
    Draft202012Validator(MESSAGE).validate(payload)
    assert weight(payload) <= LIMIT
    assert "{{" not in json.dumps([run["text"] for run in runs_of(payload)])


def runs_of(payload: dict[str, Any]) -> list[dict[str, Any]]:
    blocks = payload["attachments"][0]["content"]["body"]
    return [run for block in blocks for run in block["inlines"]]


def shown_by_teams(payload: dict[str, Any]) -> str:
    blocks = payload["attachments"][0]["content"]["body"]
    return "\n".join("".join(run["text"] for run in block["inlines"]) for block in blocks)


def shown_by_slack(payload: dict[str, Any]) -> str:
    return "\n".join(text["text"] for text in slack_texts(payload))
