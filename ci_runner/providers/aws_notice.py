"""Whether EC2 has announced that it takes a spot machine back, as the machine itself can ask."""

from __future__ import annotations

from ci_runner.github.commands import one_line

# asks the metadata service, version 2, on the machine itself: a token first, then whether the end is announced
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
_NOTICE = """
import os, sys, urllib.error, urllib.request
base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def ask(path, method="GET", **headers):
    request = urllib.request.Request(base + path, method=method, headers=headers)
    return direct.open(request, timeout=2).read(4096).decode("utf-8", "replace")
try:
    token = ask("/latest/api/token", "PUT", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    print(ask("/latest/meta-data/spot/instance-action", **{"X-aws-ec2-metadata-token": token}))
except urllib.error.HTTPError as error:
    sys.exit(1 if error.code == 404 else 2)
except OSError:
    sys.exit(2)
"""


def spot_notice_command() -> tuple[str, ...]:
    """The command that asks a machine of EC2 whether it will be taken away.

    Exit code 0: yes, and the announcement is printed as JSON (`{"action": "terminate", "time": …}`); 1: no; 2: the
    metadata service does not answer. Amazon asks to call it every five seconds.
    """
    return ("python3", "-I", "-c", _NOTICE)


def announced(exit_code: int, stdout: bytes) -> str | None:
    """What the command's answer means: why the machine will go, or None."""
    return one_line(stdout.decode("utf-8", "replace").strip(), 200) if exit_code == 0 else None
