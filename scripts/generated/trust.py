"""The page about who may spend money: prose from here, events and codes from the decision itself."""

from __future__ import annotations

from collections.abc import Iterator

from ci_runner.github.trust import ROWS
from ci_runner.github.trust_words import ACTIONS, ALLOWED, REFUSED

HEAD = """<!-- written by scripts/generate; change the code, not this file -->
# Who may spend money

In a workflow of GitHub, `ci-runner run`, `ci-runner ab` and the actions lease a machine only if the event
that started the workflow may spend money. It is decided in Python, in `ci_runner/github/trust.py`, from the
payload that GitHub wrote and from what GitHub's API says at that moment. An `if:` in a workflow may save a
job; it protects nothing.

- What is not known counts against spending. Without a token, what the payload does not prove is refused.
- Refused is exit code 10, with the reason and what to do. `ci-runner plan` leaves out the suites that would
  lease a machine, with the code `untrusted` and the same words; suites on this machine run all the same.
- What was asked for by name is refused whole. So is a plan in which nothing else is left, and what a schedule
  or a dispatch asks for.
- Each job decides anew. What a saved plan, a saved event, an input or an artifact says of trust is not
  believed.
- On the command line of a person, outside of a workflow, nobody is asked.

## The three lanes

| lane | whose commit | what it may |
|---|---|---|
| A | of a branch of this repository | lease machines, if whoever started it has write access |
| B | of a fork, and exactly this commit was approved | the same; off unless `[trust] forks = "reviewed"` |
| C | of a fork | CPU suites on the hosted runner: no machines, and on events that hold secrets nothing at all |

Somebody has write access with the permission write, maintain or admin, asked of GitHub when it is needed. An
organization's own role counts as the one it is based on. A bot has it only if `[trust] bots` names it,
brackets and all (`release-bot[bot]`); no bot's review is an approval.

### An approval

Lane B takes a review that is an approval, of exactly the commit that is the pull request's head now, by
somebody with write access who is not its author. It is no approval any more when it was dismissed, or when
whoever gave it has since reviewed otherwise. A request for changes by somebody with write access withdraws it, if
it is of this commit or not older than the approval, and until the same person approves or the request is
dismissed. Somebody whose permission cannot be learned counts as one who may withdraw, and as none who may
approve.

A label only starts it: whoever adds the label, comments or runs it again needs write access too, and no label
is an approval. New commits need a new approval. The machine gets the approved commit and no other, whatever
is checked out.

A comment (`issue_comment`) starts the suites whose `events` name it, and GitHub does not say whose commit it is
about: it always takes lane B, a branch of this repository included. The approved commit is what is tested. What
the comment says is for the workflow's `if:` to read; `ci-runner` does not.

### Whose rules count

A pull request brings its own `ci-runner.toml`. Its `[trust]` counts only where the file is the default
branch's: `GITHUB_REF` is the default branch, and what is checked out is `GITHUB_SHA`. That is so for a push
to the default branch, a schedule, a dispatch on it, and, if the workflow checks out nothing else, for
`pull_request_target`, `workflow_run` and `issue_comment`. Everywhere else the file's rules are the strictest,
and the environment of the workflow counts: `CI_RUNNER_TRUST__FORKS`, `CI_RUNNER_TRUST__BOTS`.

So the workflow of lane B runs on `pull_request_target`, leaves the default branch checked out, and fetches
the pull request's commit beside it (`git fetch origin pull/NUMBER/head`), without checking it out:
`ci-runner` hands that commit to the machine and runs nothing of it on the runner. The token needs
`pull-requests: read`.

### Running it again

Who runs an old run again spends anew: write access is asked of that person, as of now. In lane B the old
run's commit must still be the head, and the label still be there. A run whose attempt is not known counts as
such a re-run.

"""


def text() -> str:
    """The whole page."""
    return HEAD + "\n".join([*events(), "", *codes(), ""])


def events() -> Iterator[str]:
    """What each event takes."""
    yield "## What it takes, event by event"
    yield ""
    yield "| event | a commit of this repository | a commit of a fork |"
    yield "|---|---|---|"
    for name, row in ROWS.items():
        yield f"| `{name}` | {row.own} | {row.fork} |"
    yield "| any other | never | never |"
    yield ""
    yield f"Actions of a pull request that may start something: {', '.join(f'`{name}`' for name in ACTIONS)}."


def codes() -> Iterator[str]:
    """What the decision says, and what to do about it."""
    words = {"who": "NAME", "permission": "PERMISSION", "kind": "EVENT"}
    yield "## What the decision says"
    yield ""
    yield "| code | allowed, because |"
    yield "|---|---|"
    for code, reason in ALLOWED.items():
        yield f"| `{code}` | {reason.format(**words)} |"
    yield ""
    yield "| code | refused, because | what to do |"
    yield "|---|---|---|"
    for code, (reason, fix) in REFUSED.items():
        yield f"| `{code}` | {reason.format(**words)} | {fix} |"
