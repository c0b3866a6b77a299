"""Writes the files that are made from the code, and says which of them are stale; scripts/generate starts it."""
