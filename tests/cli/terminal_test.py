"""sbx run -t: a real pseudo terminal on either side."""
import fcntl
import os
import signal
import struct
import termios
import unittest

import sbx
from sbx import Case
from terminal import OnTerminal


class Terminal(OnTerminal, Case):
    def spawn(self, *arguments, **size):
        return self.start(['run', *sbx.EXTRA, *arguments], **size)

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
        below = sbx.family(pid)
        self.assertTrue(below)
        os.kill(pid, signal.SIGHUP)
        self.wait(pid, master)
        self.assertEqual(sbx.survivors(below), [])


if __name__ == '__main__':
    unittest.main()
