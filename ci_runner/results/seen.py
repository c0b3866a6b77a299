"""Remembers which keys were seen, in memory that is bounded however many there are."""

from __future__ import annotations

EXACT = 1 << 17  # keys that are remembered one by one: about 10 MB
BITS = 1 << 28  # and 32 MiB for all beyond that
WIDTH = BITS.bit_length() - 1
PROBES = (0, 1, 2, 3)


class Seen:
    """A set of hashes that may say "seen" wrongly (once in ten million times at a million keys), and "new" never."""

    __slots__ = ("_bits", "_limit", "_mask", "exact", "full")

    def __init__(self, exact: int = EXACT, bits: int = BITS) -> None:
        self.exact: set[int] = set()  # a caller in a hurry may look and add here itself, until `full`
        self.full = False
        self._limit = exact
        self._mask = bits - 1
        self._bits = bytearray()

    def add(self, value: int) -> bool:
        """Remember a hash; True if it was seen before, or seems so."""
        if self.full:
            return self._mark(value)
        exact = self.exact
        if value in exact:
            return True
        exact.add(value)
        return False

    def make_room(self) -> None:
        """To be called now and then: moves on to bounded memory when there are too many keys to remember one by one."""
        if self.full or len(self.exact) < self._limit:
            return
        self.full = True
        self._bits = bytearray((self._mask + 1) >> 3)
        for item in self.exact:
            self._mark(item)
        self.exact = set()

    def _mark(self, value: int) -> bool:
        """Set four bits, at equal steps that depend on the hash as well; True if all of them were set."""
        bits, mask = self._bits, self._mask
        at, step = value & mask, value >> WIDTH & mask | 1
        seen = True
        for _probe in PROBES:
            byte, bit = at >> 3, 1 << (at & 7)
            if not (held := bits[byte]) & bit:
                seen = False
                bits[byte] = held | bit
            at = at + step & mask
        return seen
