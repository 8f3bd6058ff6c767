"""sbx attach and exec -t: a real pseudo terminal here, one inside, a daemon between them."""
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
from daemon import DaemonCase


class Terminal(DaemonCase):
    def setUp(self):
        super().setUp()
        self.name = self.box()

    def spawn(self, *arguments, rows=30, columns=100):
        """Starts sbx as session leader on a new terminal; returns (pid, master)."""
        pid, master = pty.fork()
        if pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
                os.environ['TERM'] = 'xterm-256color'
                os.environ['SANDBOXD_ENDPOINT'] = self.daemon.endpoint
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

    def keep(self, master):
        """Another descriptor of the terminal, so that its settings can be read when sbx is gone."""
        number = struct.unpack('I', fcntl.ioctl(master, 0x80045430, b'\0' * 4))[0]  # TIOCGPTN
        slave = os.open(f'/dev/pts/{number}', os.O_RDWR | os.O_NOCTTY)
        self.addCleanup(os.close, slave)
        return slave

    def test_attach_is_a_shell_of_the_right_size_and_kind(self):
        pid, master = self.spawn('attach', self.name)
        os.write(master, b'tty -s && stty size; echo $TERM; echo kept > /root/kept\n')
        self.expect(master, b'30 100')
        self.expect(master, b'\nxterm-256color')
        os.write(master, b'exit 3\n')
        self.assertEqual(self.wait(pid, master), 3)
        self.assertEqual(self.ok('exec', self.name, 'cat /root/kept'), b'kept\n')

    def test_the_window_may_change(self):
        pid, master = self.spawn('attach', self.name, "trap 'stty size' WINCH; echo rea''dy; while :; do sleep 0.05; done")
        self.expect(master, b'ready')
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack('HHHH', 41, 133, 0, 0))
        self.expect(master, b'41 133')
        os.write(master, b'\x03')
        self.assertEqual(self.wait(pid, master), 130)

    def test_keys_go_in_and_ctrl_c_reaches_only_the_program(self):
        pid, master = self.spawn('exec', '-t', self.name, "trap 'echo got-int; exit 5' INT; echo rea''dy; while :; do sleep 0.05; done")
        self.expect(master, b'ready')
        os.write(master, b'\x03')
        self.expect(master, b'got-int')
        self.assertEqual(self.wait(pid, master), 5)

    def test_the_terminal_is_restored_whatever_happens(self):
        for ending in (None, signal.SIGTERM, signal.SIGHUP, 'rm'):
            box = self.box()
            pid, master = self.spawn('attach', box)
            slave = self.keep(master)
            os.write(master, b'echo rea""dy\n')
            self.expect(master, b'ready\r\n')
            self.assertFalse(termios.tcgetattr(slave)[3] & termios.ICANON, 'not raw while it runs')
            if ending == 'rm':
                self.ok('rm', box)  # the sandbox goes away under the session
            elif ending is None:
                os.write(master, b'exit\n')
            else:
                # An interactive shell ignores SIGTERM: the second signal kills it.
                os.kill(pid, ending)
                os.kill(pid, signal.SIGHUP)
            self.wait(pid, master, 45)
            after = termios.tcgetattr(slave)
            self.assertTrue(after[3] & termios.ICANON and after[3] & termios.ECHO, ending)

    def test_tables_are_in_colour_only_on_a_terminal(self):
        pid, master = self.spawn('ls')
        self.assertEqual(self.wait(pid, master), 0)
        self.assertIn(b'\033[1mID', self.seen)
        self.assertNotIn(b'\033', self.ok('ls'))
        os.environ['NO_COLOR'] = '1'
        self.addCleanup(os.environ.pop, 'NO_COLOR')
        pid, master = self.spawn('ls')
        self.assertEqual(self.wait(pid, master), 0)
        self.assertNotIn(b'\033', self.seen)


if __name__ == '__main__':
    unittest.main()
