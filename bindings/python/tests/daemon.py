"""A sandboxd of one's own, on a scratch socket."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

_CONFIG = """\
[server]
socket = "{directory}/d.sock"
data_dir = "{directory}/data"
[limits]
max_sandboxes = 400
max_memory = "4096g"
max_cpu = 4096.0
create_rate_limit = 0
allow_host_paths = true
"""


class Daemon:
    """Runs as long as the ``with`` block."""

    def __init__(self) -> None:
        self._bin = Path(os.environ["SANDBOX_BIN_DIR"])
        self._directory = tempfile.TemporaryDirectory(prefix="sandbox-daemon-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"unix://{self._directory.name}/d.sock"

    def _listens(self) -> bool:
        """Whether somebody answers there: the socket is in its place a moment before that."""
        with socket.socket(socket.AF_UNIX) as attempt:
            return attempt.connect_ex(f"{self._directory.name}/d.sock") == 0

    def __enter__(self) -> Daemon:
        directory = Path(self._directory.name)
        (directory / "config.toml").write_text(_CONFIG.format(directory=directory))
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._bin / "sandboxd", "--config", directory / "config.toml"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 30
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > end:
                said = (directory / "log").read_text(errors="replace")
                self.__exit__(None, None, None)
                raise RuntimeError(f"sandboxd did not come up:\n{said}")
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._directory.cleanup()
