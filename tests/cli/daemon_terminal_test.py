"""sbx attach and exec -t: a real pseudo terminal here, one inside, a daemon between them."""
import fcntl
import os
import signal
import struct
import termios
import unittest

import sbx
from daemon import DaemonCase
from terminal import OnTerminal


class Terminal(OnTerminal, DaemonCase):
    def setUp(self):
        super().setUp()
        self.name = self.box()

    def spawn(self, *arguments, **size):
        return self.start(arguments, {'SANDBOXD_ENDPOINT': self.daemon.endpoint}, **size)

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
