#!/usr/bin/env python3
"""Runs the v1 clients against daemons of their own. usage: run.py python [unittest arguments] | run.py go BUILD_DIR"""
import os
import shutil
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "python")]

from daemon import Daemon, SLOW  # noqa: E402


def go(build):
    if shutil.which("go") is None:
        print("skipped: no go on this machine")
        return 77  # ctest's SKIP_RETURN_CODE
    os.makedirs(build, exist_ok=True)
    program = os.path.join(build, "v1client")
    environment = dict(os.environ, GOFLAGS="-mod=mod", GOPROXY="off", GOTOOLCHAIN="local", CGO_ENABLED="0",
                       GOCACHE=os.path.join(build, "cache"))
    subprocess.run(["go", "build", "-o", program, "."], cwd=os.path.join(HERE, "go"), env=environment, check=True, timeout=280)
    import case
    from test_tenants import keys
    single = Daemon(case.CONFIG)
    try:
        tenants = Daemon(case.CONFIG + f"[multi_tenant]\nenabled = true\npublic_keys = [{keys(bytes(range(32)))}]\n")
        try:
            status = subprocess.run([program, single.socket, tenants.socket], timeout=200 * SLOW).returncode
        finally:
            tenants.stop()
    finally:
        single.stop()
    return status


def python(arguments):
    loader = unittest.TestLoader()
    os.chdir(os.path.join(HERE, "python"))
    suite = loader.loadTestsFromNames(arguments) if arguments else loader.discover(".", "test_*.py")
    return 0 if unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful() else 1


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("python", "go"):
        sys.exit(__doc__)
    sys.exit(python(sys.argv[2:]) if sys.argv[1] == "python" else go(sys.argv[2]))
