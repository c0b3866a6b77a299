"""The gate: every check that a change must pass, in one command; scripts/test starts it."""
