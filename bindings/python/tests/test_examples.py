"""Every example runs, and says what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "python"
SAYS = {
    "1_hello.py": ["hello from sandbox"],
    "2_streaming.py": ["[out] step 1", "[err] done", "exit code 0", "cat says second", "stopped after begun"],
    "3_files.py": [
        "['1', '2', '3']",
        "16 MiB there and back",
        "['project/main.py']",
        "the answer is 42",
        "removed /root/sorted.txt",
    ],
    "4_ports.py": ["200 OK through a socket", "served from a sandbox"],
    "5_web_server.py": ["-> 42", "-> root", "-> mine", "from the pool: 3"],
    "6_agent_loop.py": ["100 commands, 10 failed: [3, 13,", "ends with 3", "all well after the repair"],
}


def test_every_example_is_known() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_example(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    for text in SAYS[name]:
        assert text in done.stdout, done.stdout
