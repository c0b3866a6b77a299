"""Where GitHub's API is, about which repository, and with which token; for whoever asks, with the library or without."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from ci_runner.errors import AuthenticationError, ConfigurationError
from ci_runner.github.commands import one_line
from ci_runner.web import is_loopback

API = "https://api.github.com"
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}/(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,100}")
TOKENS = ("GITHUB_TOKEN", "GH_TOKEN")


def repository_of(environ: Mapping[str, str], repository: str | None = None) -> str:
    """The repository that is named, else that of the job. Raises ConfigurationError."""
    name = repository or environ.get("GITHUB_REPOSITORY", "")
    if not REPOSITORY.fullmatch(name):
        raise ConfigurationError(
            "it is not known which repository on GitHub this is about",
            where=f"GITHUB_REPOSITORY = {one_line(name, 80)!r}",
            fix="set GITHUB_REPOSITORY=owner/name",
        )
    return name


def token_of(environ: Mapping[str, str], token: str | None = None) -> str:
    """The token that is given, else that of the job. Raises AuthenticationError for none, and for what cannot be one."""
    secret = token or next((environ[each] for each in TOKENS if environ.get(each)), "")
    if not secret:
        raise AuthenticationError(
            "there is no token for GitHub",
            where="GITHUB_TOKEN",
            fix="in a workflow pass github-token: ${{ github.token }}; elsewhere set GITHUB_TOKEN",
        )
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise AuthenticationError(
            "the token for GitHub cannot be one: it holds spaces or control characters",
            where="GITHUB_TOKEN",
            fix="store it again without a line end",
        )
    return secret


def api_of(environ: Mapping[str, str]) -> str:
    """The address of the API."""
    return checked_address(environ.get("GITHUB_API_URL") or API)


def checked_address(text: str) -> str:
    """The API's address: https, or http on this machine. Raises ConfigurationError for what would leak the token."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        usable = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
        usable = usable and bool(host) and not parts.username and not parts.query and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            "the address of GitHub's API cannot be used: a token goes over https alone",
            where=f"GITHUB_API_URL = {one_line(text, 120)!r}",
            fix=f"unset GITHUB_API_URL, or set it to an address such as {API}",
        )
    return text.rstrip("/")
