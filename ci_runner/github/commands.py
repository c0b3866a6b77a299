"""Workflow commands: making foreign text harmless on a runner's stdout, and writing commands of our own.

The runner reads every line that a step prints: `::name::` after leading blanks and `##[name]` anywhere are
commands, and a lone carriage return ends a line
(https://docs.github.com/actions/reference/workflow-commands-for-github-actions).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

# Complete escape sequences are removed: a colour has no meaning in a quotation.
_ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI, colours and cursor movements
    r"|\x1b[\]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)"  # OSC, DCS, SOS, PM, APC up to their end
    r"|\x1b[ -/]*[0-~]"  # two-byte sequences
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
# What would act on a terminal or make text read other than it is: C0 and C1 but tab and newline, marks that
# change the direction of writing, line and paragraph separators, a byte order mark, tags, lone surrogates.
_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
_BREAKS = re.compile(r"\r\n|\r|\n")
_COMMAND = re.compile(r"^([^\S\n]*):(?=:)", re.MULTILINE)
_UNPLAIN = re.compile("[^\t\n -\x7e]")
_SUSPECT = re.compile("[^\t\n -\x7e]|##\\[|^[^\\S\n]*::", re.MULTILINE)


def neutralise(text: str) -> str:
    r"""Foreign text of any number of lines, safe to print: no workflow command, no escape sequence, no control character.

    Colours are removed; other control characters are shown as `\x07`. Line ends become `\n`.
    """
    if not _SUSPECT.search(text):
        return text
    return _COMMAND.sub(r"\1\\:", visible(text)).replace("##[", "##\\[")


def visible(text: str) -> str:
    r"""Foreign text for a page that no runner reads: colours removed, other control characters shown as `\x07`."""
    if not _UNPLAIN.search(text):
        return text
    return _ACTIVE.sub(_escaped, _BREAKS.sub("\n", _ANSI.sub("", text)))


def one_line(text: str, limit: int | None = None) -> str:
    r"""Foreign text for one line: line ends are shown as `\n`, and what is over the limit is cut with an ellipsis."""
    if limit is not None and len(text) > 8 * limit:
        text = text[: 8 * limit]  # a line of a megabyte costs nothing to cut first
    if _SUSPECT.search(text) or "\n" in text or "\t" in text:
        text = _ANSI.sub("", text)
        text = _BREAKS.sub(r"\\n", text).replace("\t", " ")
        text = neutralise(text)
    if limit is not None and len(text) > limit:
        text = text[: max(0, limit - 1)] + "…"
    return text


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def escape_data(text: str) -> str:
    """Text as the message of a workflow command, where it may have several lines."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """Text as the value of a workflow command's property, such as a file name."""
    return escape_data(text).replace(":", "%3A").replace(",", "%2C")


def command(name: str, message: str, **properties: str | int | None) -> str:
    """One workflow command; properties that are None are left out, and control characters are made visible."""
    given = ",".join(
        f"{key}={escape_property(neutralise(str(value)))}"
        for key, value in properties.items()
        if value is not None
    )
    return f"::{name}{' ' if given else ''}{given}::{escape_data(neutralise(message))}"


class StopCommands:
    """Switches the runner's command reader off around foreign output; the token is random and never leaves early."""

    def __init__(self, write: Callable[[str], object], token: str | None = None) -> None:
        self._write = write
        self._token = token or secrets.token_hex(16)
        self._stopped = False

    def stop(self) -> None:
        """From here on nothing that is printed is a command."""
        if not self._stopped:
            self._write(f"::stop-commands::{self._token}\n")
            self._stopped = True

    def resume(self) -> None:
        """Commands count again."""
        if self._stopped:
            self._write(f"::{self._token}::\n")
            self._stopped = False
