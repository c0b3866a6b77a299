"""Starts the refresher from its folder."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from prices.update import main

    sys.exit(main(sys.argv[1:]))
