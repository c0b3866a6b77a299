"""Carries what was rendered to GitHub: comments, check runs, issues."""
