"""The script that a leased machine runs when it boots: it ends by itself, shows the known key, lets the runner in."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jinja2 import Template

    from ci_runner.model import Lease

TEMPLATES = Path(__file__).with_name("boot")
MAX_BYTES = 16 * 1024  # EC2's limit for user data, the smallest of all


def boot_script(
    lease: Lease,
    *,
    host_private: str,
    host_public: str,
    public: str,
    user: str,
    stops: Literal["terminate", "off"],
) -> str:
    """The script for this lease's machines. `stops` says what a shutdown from within does to such a machine."""
    lines = host_private.strip().splitlines()
    if "KEY" in lines:
        raise ValueError(f"lease {lease.id}: that is no private key")
    text = _template().render(
        lease=lease,
        created=int(lease.created_at),
        expires=int(lease.expires_at),
        host_private="\n".join(lines),
        host_public=_one_line(host_public),
        public=_one_line(public),
        user=user,
        stops=stops,
    )
    if len(text.encode()) >= MAX_BYTES:
        raise ValueError(f"lease {lease.id}: the boot script is longer than {MAX_BYTES} bytes")
    return text


def _one_line(key: str) -> str:
    line = key.strip()
    if not line or "\n" in line or "\r" in line:
        raise ValueError("a public key is one line")
    return line


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - a script for bash; every value goes through `quote`
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quote"] = shlex.quote
    return environment.get_template("boot.sh.j2")
