"""Says in one line of JSON what an interpreter can do; runs in the user's interpreter, whatever its age."""

import json
import platform
import sys


def version(name: str) -> "str | None":
    """The version of a distribution, or None; the import itself is dear and may have effects."""
    try:
        from importlib import metadata
    except ImportError:
        return version_of_old(name)
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def version_of_old(name: str) -> "str | None":
    """The same for Python before 3.8, where only the import tells."""
    try:
        module = __import__(name.replace("-", "_"))
    except ImportError:
        return None
    return getattr(module, "__version__", "unknown")


def main() -> None:
    """Print the facts."""
    facts = {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "pytest": version("pytest"),
        "xdist": version("pytest-xdist"),
    }
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
