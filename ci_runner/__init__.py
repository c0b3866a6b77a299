"""Choose the tests a change needs, lease a machine that can run them, run them, and say what broke."""

__version__ = "0.1.0"
