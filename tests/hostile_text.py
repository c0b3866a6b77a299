"""Looks for anything active in rendered Markdown and HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

ALLOWED_IN_MARKDOWN = {"details", "/details", "summary", "/summary", "code", "/code", "b", "/b", "br"}
REFERENCE = re.compile(r"@\w|://|\bwww\.|\bGH-\d|#\d|\b[0-9a-f]{40}\b|mailto:|xmpp:", re.IGNORECASE)


def active_in_markdown(text: str, *, allowed: str | None = None) -> list[str]:
    """What a reader of GitHub's Markdown could click, be pinged by, be tracked by or not see.

    `allowed` is the pattern of addresses that links of ours lead to.
    """
    found: list[str] = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        found += _of_token(token, allowed)
    return found


def _of_token(token: Token, allowed: str | None = None) -> list[str]:
    found: list[str] = []
    if token.type in ("html_block", "html_inline"):
        found += [
            f"tag {name} {rest}"
            for name, rest in re.findall(r"<\s*([!/?]?[A-Za-z-]+)([^>]*)>?", token.content)
            if name.lower() not in ALLOWED_IN_MARKDOWN or rest.strip()
        ]
        bare = re.sub(r"<code>.*?</code>", "", token.content)
        found += [f"reference {word!r}" for word in REFERENCE.findall(bare)]
    ours = token.type == "link_open" and allowed and re.match(allowed, str(token.attrs.get("href")))
    if token.type in ("link_open", "image", "hr", "s_open") and not ours:
        found.append(f"{token.type} {token.attrs}")
    if token.type == "text" and REFERENCE.search(token.content):
        found.append(f"reference in {token.content[:80]!r}")
    for child in token.children or ():
        found += _of_token(child, allowed)
    return found


class ActiveFinder(HTMLParser):
    """Collects elements and attributes that could act, and the text that a reader sees."""

    ALLOWED_SCRIPTS = 2  # the data and our own

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.data = ""
        self.policy = ""
        self._inside: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what is not ours."""
        values = dict(attrs)
        if tag in (
            "img",
            "iframe",
            "object",
            "embed",
            "link",
            "base",
            "form",
            "video",
            "audio",
            "image",
            "use",
            "foreignobject",
        ):
            self.found.append(f"element {tag}")
        for name, value in attrs:
            if name.startswith("on") or name in (
                "style",
                "src",
                "srcset",
                "srcdoc",
                "action",
                "formaction",
                "xlink:href",
            ):
                self.found.append(f"attribute {name} of {tag}")
            if name == "href" and not str(value).startswith("#"):
                self.found.append(f"link to {value}")
        if tag == "meta" and values.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(values.get("content"))
        if tag in ("script", "style"):
            self._silent += 1
            self._inside.append(f"{tag} {values.get('type', '')}")

    def handle_endtag(self, tag: str) -> None:
        """Leave scripts and styles."""
        if tag in ("script", "style"):
            self._silent -= 1
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        """Keep what is shown apart from what is not."""
        if not self._silent:
            self.words.append(data)
        elif "application/json" in self._inside[-1]:
            self.data += data
        elif self._inside[-1].startswith("script"):
            self.scripts.append(data)

    def handle_comment(self, data: str) -> None:
        """No page of ours has one."""
        self.found.append(f"comment {data[:40]!r}")


def read_page(page: str) -> ActiveFinder:
    """A page as a parser sees it."""
    finder = ActiveFinder()
    finder.feed(page)
    finder.close()
    return finder


def shown_text(page: str) -> str:
    """The text of a page, one line a run of text."""
    words = (re.sub(r"\s+", " ", word.strip()) for word in read_page(page).words)
    return "\n".join(word for word in words if word)


def tokens(text: str) -> list[Any]:
    """Markdown tokens, for tests that look at structure."""
    return MarkdownIt("commonmark").enable("table").parse(text)
