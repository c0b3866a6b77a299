"""Says which Python is needed before anything newer than Python 3.7 is imported, then sets up."""

import sys
from pathlib import Path

NEEDED = (3, 11)

if __name__ == "__main__":
    if sys.version_info < NEEDED:
        found = ".".join(str(part) for part in sys.version_info[:3])
        sys.stderr.write(
            f"ci-runner: error: Python 3.11 or newer is needed, found {found} ({sys.executable})\n"
            "fix: install a newer Python and put it on PATH as python3 or python3.11\n"
        )
        sys.exit(8)
    # this folder is the package; what it imports is found beside it
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from bootstrap.setup import main

    sys.exit(main(sys.argv[1:]))
