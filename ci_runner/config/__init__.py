"""Reads team file, personal files, environment and flags into Settings, and knows where every value came from."""
