"""One suite on one lease: stage the commit, run it, retry, fall back, and keep what is known."""
