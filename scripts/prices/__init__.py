"""Refreshes ci_runner/providers/prices.toml from a public catalogue; scripts/update-prices starts it."""
