"""Makes the environment of a checkout with Python's standard library alone; scripts/ci-runner starts it."""
