"""A pseudo terminal with sbx on it, for the tests of `sbx run -t` and of terminals on a daemon."""
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time

import sbx


class OnTerminal:
    """Mixed into a test case: one sbx at a time, as session leader on a new terminal."""

    def start(self, arguments, environment=None, rows=30, columns=100):
        """Runs `sbx arguments…`; returns (pid, master)."""
        pid, master = pty.fork()
        if pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
                os.environ['TERM'] = 'xterm-256color'
                os.environ.update(environment or {})
                os.execv(sbx.SBX, [sbx.SBX, *arguments])
            finally:
                os._exit(99)  # this is a copy of the test; it must not go on
        self.addCleanup(os.close, master)
        self.addCleanup(self.reap, pid)
        self.seen = b''
        self.status = None
        return pid, master

    def reap(self, pid):
        if self.status is None:
            os.kill(pid, signal.SIGKILL)
            self.status = os.waitpid(pid, 0)[1]

    def wait(self, pid, master, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([master], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(master, 65536)
                except OSError:
                    pass  # the last slave end closed
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self.status = status
                return os.waitstatus_to_exitcode(status)
        self.fail(f'sbx did not end; output so far: {self.seen!r}')

    def expect(self, master, words, seconds=20):
        end = time.monotonic() + seconds
        while words not in self.seen:
            if time.monotonic() > end or not select.select([master], [], [], max(0, end - time.monotonic()))[0]:
                self.fail(f'{words!r} did not come; output so far: {self.seen!r}')
            self.seen += os.read(master, 65536)
