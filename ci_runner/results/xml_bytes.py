"""The bytes of a report as an XML parser accepts them: as they are, or cleaned of what no XML may hold."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO

PIECE = 1 << 16
HEAD = 1 << 20  # bytes in which a document has to begin
HELD_BACK = 16  # characters: longer than any reference that is cleaned
REPLACED = "\N{REPLACEMENT CHARACTER}"

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?\bencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REFERENCE = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)(?:#([0-9]{1,7}|x[0-9A-Fa-f]{1,6});)?")
_BEGIN = re.compile(r"<(?=\?xml\s|!DOCTYPE\s|!--|(?:[\w.-]{1,40}:)?test(?:suites?|case)\b)")


def raw_pieces(file: BinaryIO) -> Iterator[bytes]:
    """The file as it is."""
    while piece := file.read(PIECE):
        yield piece


def encoding_of(head: bytes) -> tuple[str, int]:
    """The encoding that the first bytes announce, and the length of the mark that announces it."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name, len(mark)
    for wide, name in ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be")):
        if head.startswith(wide):
            return name, 0
    declared = _DECLARED.search(head)
    name = declared[1].decode("ascii") if declared is not None else "utf-8"
    return name if _usable(name) else "utf-8", 0


def _usable(name: str) -> bool:
    """Whether this is an encoding in which a declaration could be read as ASCII, as it just was."""
    try:
        codec = codecs.lookup(name)
        if not getattr(codec, "_is_text_encoding", True) or codec.incrementaldecoder is None:
            return False
        decoder = codec.incrementaldecoder("replace")
        return decoder.decode(b"<testcase/>\xff\xff", final=True).startswith("<testcase/>")
    except (LookupError, ValueError):
        return False


class Cleaned:
    """A file in UTF-8, from its first tag on, without characters and references that XML forbids."""

    def __init__(self, file: BinaryIO) -> None:
        file.seek(0)
        encoding, mark = encoding_of(file.read(1024))
        file.seek(mark)
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        head = self._decoder.decode(file.read(HEAD))
        begin = _BEGIN.search(head)
        start = begin.start() if begin is not None else 0
        self.lines_before = head.count("\n", 0, start)
        self._head = head[start:]

    def pieces(self) -> Iterator[bytes]:
        """All of it."""
        held, more = self._head, True
        while more:
            data = self._file.read(PIECE)
            more = bool(data)
            text = held + self._decoder.decode(data, final=not more)
            held = ""
            if more and (at := text.rfind("&", -HELD_BACK)) >= 0:
                text, held = text[:at], text[at:]
            yield clean(text).encode("utf-8", "replace")


def clean(text: str) -> str:
    """The text with what XML forbids replaced, and with lone ampersands escaped."""
    return _REFERENCE.sub(_reference, _FORBIDDEN.sub(REPLACED, text))


def without_forbidden(text: str) -> str:
    """Text that may stand in XML: what it forbids becomes a replacement character."""
    return _FORBIDDEN.sub(REPLACED, text)


def _reference(match: re.Match[str]) -> str:
    digits = match[1]
    if digits is None:
        return "&amp;"
    code = int(digits[1:], 16) if digits[0] == "x" else int(digits)
    if code > 0x10FFFF or _FORBIDDEN.match(chr(code)):
        return REPLACED
    return match[0]
