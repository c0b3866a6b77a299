"""What every request over HTTP keeps to that carries a secret: it goes to the host that was named, and nowhere else."""

from __future__ import annotations

import ipaddress
import urllib.request
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, so that nobody on the way can read what is said."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nothing: what is said is for this host alone."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """No other request."""


def staying_opener(address: str) -> urllib.request.OpenerDirector:
    """An opener that follows no redirection, and asks no proxy for what is on this machine."""
    handlers: list[urllib.request.BaseHandler] = [_Stay()]
    if is_loopback(urlsplit(address).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)
