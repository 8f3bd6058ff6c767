"""Makes the tests' virtual environment in a directory, once for each content of requirements.txt.

usage: make_venv.py DIRECTORY
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def main() -> int:
    directory = Path(sys.argv[1])
    stamp = directory / "stamp"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return 0
    shutil.rmtree(directory, ignore_errors=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", directory], check=True, timeout=120)
        pip: list[str | Path] = [
            directory / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, "-r", REQUIREMENTS], check=True, timeout=240)
    except (subprocess.SubprocessError, OSError) as error:
        print(
            f"The Python tests need a virtual environment with the packages of {REQUIREMENTS}, and making it failed:\n"
            f"  {error}\n"
            "PyPI must be reachable through pip, and on Debian the package python3-venv installed.",
            file=sys.stderr,
        )
        return 1
    stamp.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
