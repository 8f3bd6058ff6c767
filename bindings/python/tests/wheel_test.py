"""Builds the wheel, installs it into a fresh environment, and runs a command from there: all that a user has.

usage: wheel_test.py BUILD_DIRECTORY SCRATCH_DIRECTORY      (run by the tests' own environment: build, hatchling)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PROGRAM = """\
import asyncio, sandbox, sandbox.sync, importlib.metadata, pathlib

async def main():
    async with sandbox.Runtime.open() as runtime, runtime.create() as box:
        print((await box.process.exec("echo from the wheel")).stdout_text, end="")

asyncio.run(main())
assert importlib.metadata.version("sandbox-runtime") == sandbox.__version__
assert (pathlib.Path(sandbox.__file__).parent / "py.typed").exists()
"""


def main() -> int:
    build, scratch = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    # The tests' environment has the backend, so nothing is fetched here; the sources stay as they are.
    source = scratch / "source"
    shutil.copytree(PROJECT, source, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", scratch, source],
        check=True,
        timeout=240,
        env={**os.environ, "SANDBOX_BUILD_DIR": str(build)},
    )
    (wheel,) = scratch.glob("*.whl")
    assert wheel.name.startswith("sandbox_runtime-") and "-py3-none-linux_" in wheel.name, wheel.name
    names = set(zipfile.ZipFile(wheel).namelist())
    for wanted in ("_native/libsandbox.so.0", "_native/sandbox-agent", "_native/sandbox-launcher", "py.typed"):
        assert f"sandbox/{wanted}" in names, wanted
    venv = scratch / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=120)
    python = venv / "bin" / "python"
    install: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
        wheel,
    ]
    subprocess.run(install, check=True, timeout=120)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SANDBOX_", "PYTHON"))}
    clean["SANDBOX_STATE_DIR"] = str(scratch / "state")
    done = subprocess.run(
        [python, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, timeout=60, env=clean, cwd=scratch
    )
    assert (done.returncode, done.stdout) == (0, "from the wheel\n"), done
    shutil.rmtree(scratch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
