"""Where packages come from, and how one file is fetched from there: simple index pages (PEP 503, PEP 691) and files."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from bootstrap.problems import SetupProblem
from bootstrap.web import Web, shown

PYPI = "https://pypi.org/simple"
ACCEPTED = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
LARGEST_PAGE = 64 * 1024 * 1024


@dataclass(frozen=True)
class Index:
    """The package index in use, and what said so."""

    url: str
    said_by: str

    @property
    def is_pypi(self) -> bool:
        """Is it the one that uv.lock names?"""
        return self.url.rstrip("/") == PYPI

    def __str__(self) -> str:
        return f"{shown(self.url)} ({self.said_by})" if self.said_by else shown(self.url)


def index_in_use(environ: Mapping[str, str]) -> Index:
    """The index as uv's and pip's own settings name it; PyPI when they do not."""
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        url = environ.get(variable, "").strip()
        if url:
            return Index(without_name(url), variable)
    home = Path(environ.get("HOME") or "/")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    for path in (config / "uv" / "uv.toml", Path("/etc/uv/uv.toml")):
        url = uv_setting(path)
        if url:
            return Index(url, str(path))
    named = environ.get("PIP_CONFIG_FILE")
    for path in (
        *([Path(named)] if named else []),
        config / "pip" / "pip.conf",
        home / ".pip" / "pip.conf",
        Path("/etc/pip.conf"),
    ):
        url = pip_setting(path)
        if url:
            return Index(url, str(path))
    return Index(PYPI, "")


def without_name(url: str) -> str:
    """The address of an index that may be written as NAME=ADDRESS."""
    return re.sub(r"\A[A-Za-z0-9_-]+=(?=[a-z]+:)", "", url)


def uv_setting(path: Path) -> str:
    """The default index of a uv.toml; empty when there is none."""
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""  # uv itself will complain about a file that is broken
    for index in settings.get("index", []):
        if isinstance(index, dict) and index.get("default"):
            return str(index.get("url", ""))
    return str(settings.get("index-url", ""))


def pip_setting(path: Path) -> str:
    """The index-url of a pip.conf; empty when there is none."""
    settings = configparser.RawConfigParser()
    try:
        settings.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return ""  # pip itself will complain
    return settings.get("global", "index-url", fallback="").strip()


def address_of(web: Web, index: Index, project: str, filename: str) -> str:
    """Where the index keeps the file of the project."""
    page = index.url.rstrip("/") + f"/{project}/"
    if urlsplit(page).scheme == "file":
        return address_in_folder(page, filename, index)
    answer = web.read(page, limit=LARGEST_PAGE, accept=ACCEPTED)
    if answer.media_type.endswith("+json"):
        links = links_of_json(answer.content)
    else:
        links = links_of_html(answer.content.decode("utf-8", "replace"))
    return chosen(links, answer.url, filename, index)


def address_in_folder(page: str, filename: str, index: Index) -> str:
    """The same for an index that is a folder: a page in it, or just the file."""
    folder = Path(unquote(urlsplit(page).path))
    listing = folder / "index.html"
    if listing.is_file():
        links = links_of_html(listing.read_text(encoding="utf-8", errors="replace"))
        return chosen(links, listing.as_uri(), filename, index)
    for path in (folder / filename, folder.parent / filename):
        if path.is_file():
            return path.as_uri()
    raise missing(filename, index)


def chosen(links: list[str], base: str, filename: str, index: Index) -> str:
    """The full address of the link that ends in the file's name."""
    for link in links:
        address = urljoin(base, link)
        if unquote(urlsplit(address).path.rpartition("/")[2]) == filename:
            return address.partition("#")[0]
    raise missing(filename, index)


def missing(filename: str, index: Index) -> SetupProblem:
    """The index works and does not have it."""
    return SetupProblem(
        f"{index} has no {filename}",
        fix="let the index mirror that version of uv, or put uv on PATH yourself",
    )


def links_of_json(content: bytes) -> list[str]:
    """The addresses in a JSON page of a simple index."""
    try:
        page = json.loads(content)
        return [str(file["url"]) for file in page["files"]]
    except (ValueError, KeyError, TypeError):
        return []


def links_of_html(text: str) -> list[str]:
    """The addresses in an HTML page of a simple index."""
    collector = LinkCollector()
    collector.feed(text)
    base = collector.base
    return [urljoin(base, link) if base else link for link in collector.links]


class LinkCollector(HTMLParser):
    """Gathers the targets of links."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser for each opening tag."""
        target = dict(attrs).get("href")
        if target and tag == "a":
            self.links.append(target)
        elif target and tag == "base":
            self.base = target
