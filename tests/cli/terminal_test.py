"""sbx run -t: a real pseudo terminal on either side."""
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
import unittest

import sbx
from sbx import Case


class Terminal(Case):
    def spawn(self, *arguments, rows=30, columns=100):
        """Starts sbx as session leader on a new terminal; returns (pid, master)."""
        pid, master = pty.fork()
        if pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
                os.environ['TERM'] = 'xterm-256color'
                os.execv(sbx.SBX, [sbx.SBX, 'run', *sbx.EXTRA, *arguments])
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

    def test_the_program_has_a_terminal_of_the_right_size_and_kind(self):
        pid, master = self.spawn('-t', '--', 'sh', '-c', 'tty -s && stty size && echo $TERM')
        self.assertEqual(self.wait(pid, master), 0, self.seen)
        self.assertIn(b'30 100', self.seen)
        self.assertIn(b'xterm-256color', self.seen)

    def test_keys_go_in_and_ctrl_c_reaches_only_the_program(self):
        pid, master = self.spawn('-t', '--', 'sh', '-c', "trap 'echo got-int; exit 5' INT; echo rea''dy; while :; do sleep 0.05; done")
        self.expect(master, b'ready')
        os.write(master, b'\x03')
        self.expect(master, b'got-int')
        self.assertEqual(self.wait(pid, master), 5)

    def test_a_shell_by_default(self):
        pid, master = self.spawn('-t')
        os.write(master, b'echo $((6*7))-answer\n')
        self.expect(master, b'42-answer')
        os.write(master, b'exit 3\n')
        self.assertEqual(self.wait(pid, master), 3)

    def test_the_window_may_change(self):
        pid, master = self.spawn('-t', '--', 'sh', '-c', "trap 'stty size' WINCH; echo rea''dy; while :; do sleep 0.05; done")
        self.expect(master, b'ready')
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack('HHHH', 41, 133, 0, 0))
        self.expect(master, b'41 133')
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGHUP)
        self.assertGreater(self.wait(pid, master), 128)

    def modes(self, master):
        return termios.tcgetattr(master)

    def test_the_terminal_is_restored(self):
        for line, ending in [('true', None), ('kill -KILL $$', None), ('echo rea""dy; sleep 60', signal.SIGTERM)]:
            pid, master = self.spawn('-t', '-c', line)
            # Not inherited from the last round: every spawn has its own terminal, cooked at first.
            if ending is not None:
                self.expect(master, b'ready')
                self.assertFalse(self.modes(master)[3] & termios.ICANON, 'not raw while it runs')
                os.kill(pid, ending)
            self.keep = os.open(self.slave_name(master), os.O_RDWR | os.O_NOCTTY)
            self.addCleanup(os.close, self.keep)
            self.wait(pid, master)
            after = termios.tcgetattr(self.keep)
            self.assertTrue(after[3] & termios.ICANON, line)
            self.assertTrue(after[3] & termios.ECHO, line)

    @staticmethod
    def slave_name(master):
        number = struct.unpack('I', fcntl.ioctl(master, 0x80045430, b'\0' * 4))[0]  # TIOCGPTN
        return f'/dev/pts/{number}'

    def test_ctrl_c_without_t_is_forwarded_once(self):
        # The terminal sends SIGINT to the whole foreground group; the helpers must not be in it.
        pid, master = self.spawn('--', 'sh', '-c', "trap 'echo got-int; exit 6' INT; echo rea''dy; while :; do sleep 0.05; done")
        self.expect(master, b'ready')
        os.write(master, b'\x03')
        self.expect(master, b'got-int')
        self.assertEqual(self.wait(pid, master), 6)

    def test_hangup_of_the_terminal_leaves_nothing(self):
        pid, master = self.spawn('-t', '--', 'sh', '-c', "trap '' HUP; echo rea''dy; while :; do sleep 0.05; done")
        self.expect(master, b'ready')
        below = [(p, sbx.start_time(p)) for p in sbx.descendants(pid)]
        self.assertTrue(below)
        os.kill(pid, signal.SIGHUP)
        self.wait(pid, master)
        self.assertTrue(sbx.wait_until(lambda: not any(sbx.start_time(p) == t for p, t in below)))


if __name__ == '__main__':
    unittest.main()
