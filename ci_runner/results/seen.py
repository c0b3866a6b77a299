"""Remembers which keys were seen, in memory that is bounded however many there are."""

from __future__ import annotations

EXACT = 1 << 17  # keys that are remembered one by one: about 10 MB
BITS = 1 << 27  # and 16 MiB for all beyond that


class Seen:
    """A set of hashes that may say "seen" wrongly once in a million times, and never "new" wrongly."""

    def __init__(self, exact: int = EXACT, bits: int = BITS) -> None:
        self._exact: set[int] = set()
        self._limit = exact
        self._mask = bits - 1
        self._bits: bytearray | None = None

    def add(self, value: int) -> bool:
        """Remember a hash; True if it was seen before, or seems so."""
        if self._bits is None:
            exact = self._exact
            if value in exact:
                return True
            exact.add(value)
            if len(exact) >= self._limit:
                self._bits = bytearray((self._mask + 1) >> 3)
                for item in exact:
                    self._mark(item)
                self._exact = set()
            return False
        return self._mark(value)

    def _mark(self, value: int) -> bool:
        bits = self._bits
        assert bits is not None
        seen = True
        for shift in (0, 17, 34):
            at = (value >> shift) * 0x9E3779B97F4A7C15 >> 13 & self._mask
            byte, bit = at >> 3, 1 << (at & 7)
            if not bits[byte] & bit:
                seen = False
                bits[byte] |= bit
        return seen
