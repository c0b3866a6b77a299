"""The renderers of a result, pure: Markdown for a summary, a page for people, an object for programs."""

from ci_runner.report.files import results_json, write_all
from ci_runner.report.page import render_page
from ci_runner.report.summary import render_summary_markdown

__all__ = ["render_page", "render_summary_markdown", "results_json", "write_all"]
