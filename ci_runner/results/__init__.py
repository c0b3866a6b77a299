"""From JUnit files, sidecars and exit codes to cases, problems and a verdict."""
