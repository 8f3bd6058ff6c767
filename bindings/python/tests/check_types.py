"""mypy --strict over what uses the package: examples, tests, stories, bench.

usage: check_types.py CACHE_DIRECTORY
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
EXAMPLES = PROJECT.parents[1] / "examples" / "python"


def main() -> int:
    together = [*PROJECT.glob("tests/*.py"), *PROJECT.glob("scenarios/*.py"), PROJECT / "bench.py"]
    # Each example is a program of its own, and no module: its name begins with a digit.
    programs = [together, *([example] for example in sorted(EXAMPLES.glob("*.py")))]
    environment = {**os.environ, "MYPYPATH": os.pathsep.join(["src", "tests", "scenarios"])}
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", sys.argv[1]]
    return max(subprocess.run([*mypy, *files], cwd=PROJECT, env=environment).returncode for files in programs)


if __name__ == "__main__":
    sys.exit(main())
