"""The generated files: where each one is, and the function that gives its text.

scripts/bootstrap/uv.json is not among them: to make it again takes the network (scripts/bootstrap/pin_uv.py).
"""

from __future__ import annotations

from collections.abc import Mapping

# path in the checkout → "module:function"; the function takes nothing and returns the whole text
GENERATED: Mapping[str, str] = {
    "docs/reference/ci-runner.schema.json": "ci_runner.config.schema:json_schema_text",
    "docs/reference/configuration.md": "ci_runner.config.reference:reference_text",
    "docs/reference/command-line.md": "generated.command_line:text",
    "docs/reference/prices.md": "ci_runner.providers.prices:reference_text",
    "docs/explanation/trust.md": "generated.trust:text",
    "docs/reference/permissions.md": "generated.permissions:text",
    "actions/setup/action.yml": "generated.actions:setup",
    "actions/plan/action.yml": "generated.actions:plan",
    "actions/test/action.yml": "generated.actions:test",
    "actions/tpu-test/action.yml": "generated.actions:tpu_test",
    "actions/gpu-test/action.yml": "generated.actions:gpu_test",
    "actions/benchmark/action.yml": "generated.actions:benchmark",
    "actions/report/action.yml": "generated.actions:report",
    "actions/guard/action.yml": "generated.actions:guard",
    "actions/reap/action.yml": "generated.actions:reap",
    "docs/reference/actions.md": "generated.actions:reference",
    "docs/README.md": "generated.docs_index:docs_index",  # the last: it looks at the others
}
