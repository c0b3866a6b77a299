"""A very small tensor library, just large enough for every kind of suite to have something real to test."""
