"""sbx run: exit codes, streams, JSON, signals."""
import json
import os
import signal
import subprocess
import unittest

import sbx
from sbx import Case


class ExitCodes(Case):
    def test_passes_the_programs_code(self):
        self.assertEqual(sbx.sbx('--', 'true').returncode, 0)
        self.assertEqual(sbx.sbx('--', 'sh', '-c', 'exit 42').returncode, 42)

    def test_signal_is_128_plus_n(self):
        self.assertEqual(sbx.sbx('--', 'sh', '-c', 'kill -KILL $$').returncode, 137)
        self.assertEqual(sbx.sbx('--', 'sh', '-c', 'kill -TERM $$').returncode, 143)

    def test_timeout_is_124_and_keeps_the_output(self):
        done = sbx.sbx('--timeout', '1s', '--', 'sh', '-c', 'echo before; sleep 30')
        self.assertEqual(done.returncode, 124)
        self.assertEqual(done.stdout, b'before\n')
        self.assertIn(b'timed out', done.stderr)

    def test_timeout_kills_a_program_that_ignores_sigterm(self):
        done = sbx.sbx('--timeout', '300ms', '--', 'sh', '-c', "trap '' TERM INT; while :; do sleep 1; done")
        self.assertEqual(done.returncode, 124)

    def test_not_found_is_127(self):
        done = sbx.sbx('--', 'no-such-program-here')
        self.assertEqual(done.returncode, 127, done.stderr)
        self.assertIn(b'no-such-program-here', done.stderr)

    def test_not_executable_is_126(self):
        (self.path / 'plain').write_text('not a program')
        os.chmod(self.path / 'plain', 0o644)
        done = sbx.sbx('--upload', f'{self.path}/plain:/root/plain', '--', '/root/plain')
        self.assertEqual(done.returncode, 126, done.stderr)

    def test_own_errors_are_125_and_say_what_to_do(self):
        for arguments, words in [
            (['--memory', 'lots', '--', 'true'], b'512m'),
            (['--timeout', 'soon', '--', 'true'], b'10s'),
            (['--net', 'host', '--', 'true'], b'bridge'),
            (['--workdir', 'here', '--', 'true'], b'absolute'),
            (['--upload', 'nothing', '--', 'true'], b'HOST:BOX'),
            (['-c', 'true', '--', 'true'], b'-c'),
            (['--no-such-option', '--', 'true'], b'--help'),
            ([], b'sbx run -- CMD'),
            (['--image', '/no/such/image', '--', 'true'], b'/no/such/image'),
            (['--upload', '/no/such/file:/root/x', '--', 'true'], b'/no/such/file'),
            (['-t', '--', 'true'], b'terminal'),
        ]:
            done = sbx.sbx(*arguments)
            self.assertEqual(done.returncode, 125, (arguments, done.stderr))
            self.assertIn(words, done.stderr, arguments)


class Streams(Case):
    def test_out_and_err_stay_apart(self):
        done = sbx.sbx('--', 'sh', '-c', 'echo out; echo err >&2')
        self.assertEqual((done.stdout, done.stderr), (b'out\n', b'err\n'))

    def test_argv_is_never_interpreted(self):
        done = sbx.sbx('--', 'printf', '%s|', '*', '$HOME', 'a b', '')
        self.assertEqual(done.stdout, b'*|$HOME|a b||')
        self.assertEqual(sbx.sbx('--', 'echo hi | cat').returncode, 127)

    def test_a_line_is_interpreted(self):
        self.assertEqual(sbx.sbx('-c', 'echo hi | tr a-z A-Z').stdout, b'HI\n')

    def test_a_pipe_is_forwarded_to_its_end(self):
        data = os.urandom(3 << 20)
        done = sbx.sbx('--', 'cat', stdin=data)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, data)

    def test_a_file_is_forwarded(self):
        (self.path / 'in').write_bytes(b'x' * 100_000)
        with open(self.path / 'in', 'rb') as file:
            self.assertEqual(sbx.sbx('--', 'wc', '-c', stdin=file).stdout.strip(), b'100000')

    def test_a_program_that_does_not_read_its_input_ends(self):
        done = sbx.sbx('--', 'true', stdin=b'y' * (8 << 20))
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_an_open_pipe_does_not_keep_it_alive(self):
        read_end, write_end = os.pipe()
        try:
            self.assertEqual(sbx.sbx('--', 'echo', 'done', stdin=read_end).stdout, b'done\n')
        finally:
            os.close(read_end)
            os.close(write_end)

    def test_a_closed_reader_ends_the_program(self):
        process = subprocess.Popen([sbx.SBX, 'run', *sbx.EXTRA, '--', 'yes'], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.read(4), b'y\ny\n')
        process.stdout.close()
        self.assertEqual(process.wait(timeout=20), 141)
        process.stderr.close()

    def test_output_arrives_while_it_runs(self):
        process = subprocess.Popen([sbx.SBX, 'run', *sbx.EXTRA, '--', 'sh', '-c', 'echo one; read x; echo two $x'],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b'one\n')
        rest, _ = process.communicate(b'and\n', timeout=20)
        self.assertEqual(rest, b'two and\n')
        self.assertEqual(process.returncode, 0)

    def test_max_output_drops_and_says_so(self):
        done = sbx.sbx('--max-output', '10', '--', 'sh', '-c', 'printf 0123456789abcdef')
        self.assertEqual(done.stdout, b'0123456789')
        self.assertIn(b'dropped', done.stderr)

    def test_env_and_workdir(self):
        done = sbx.sbx('-e', 'A=b c', '--env', 'FROM_HERE', '-w', '/tmp', '--', 'sh', '-c', 'echo "$A|$FROM_HERE|$PWD"',
                       env={**os.environ, 'FROM_HERE': 'x'})
        self.assertEqual(done.stdout, b'b c|x|/tmp\n')

    def test_the_callers_environment_stays_outside(self):
        done = sbx.sbx('--', 'env', env={**os.environ, 'SECRET_TOKEN': 'hunter2'})
        self.assertNotIn(b'hunter2', done.stdout)


class JsonResult(Case):
    def run_json(self, *arguments, **more):
        done = sbx.sbx('--json', *arguments, **more)
        return done, json.loads(done.stdout)

    def test_result_of_a_program_that_exits(self):
        done, result = self.run_json('--', 'sh', '-c', 'echo out; echo err >&2; exit 3')
        self.assertEqual(done.returncode, 3)
        self.assertEqual(result['cause'], 'exited')
        self.assertEqual(result['exit_code'], 3)
        self.assertIsNone(result['signal'])
        self.assertEqual((result['stdout'], result['stderr']), ('out\n', 'err\n'))
        self.assertEqual((result['stdout_bytes'], result['stderr_bytes'], result['stdout_dropped']), (4, 4, 0))
        for step in ('open_ms', 'create_ms', 'start_ms', 'run_ms', 'close_ms'):
            self.assertGreater(result['timings'][step], 0, step)

    def test_signal_and_timeout(self):
        _, result = self.run_json('--', 'sh', '-c', 'kill -SEGV $$')
        self.assertEqual((result['cause'], result['signal'], result['exit_code']), ('signalled', signal.SIGSEGV, None))
        done, result = self.run_json('--timeout', '200ms', '--', 'sleep', '30')
        self.assertEqual((result['cause'], done.returncode), ('timed_out', 124))
        self.assertLess(result['wall_ms'], 5000)

    def test_output_beyond_the_limit_is_counted(self):
        _, result = self.run_json('--max-output', '100', '--', 'sh', '-c', 'head -c 5000 /dev/zero | tr "\\0" x')
        self.assertEqual((len(result['stdout']), result['stdout_bytes'], result['stdout_dropped']), (100, 5000, 4900))

    def test_output_that_is_not_utf8(self):
        _, result = self.run_json('--', 'printf', r'\377a')
        self.assertEqual(result['stdout_base64'], '/2E=')

    def test_an_error_is_json_too(self):
        done, result = self.run_json('--', 'no-such-program-here')
        self.assertEqual((done.returncode, result['error']['code'], result['shell_code']), (127, 'not_found', 127))
        done, result = self.run_json('--memory', 'x', '--', 'true')
        self.assertEqual((done.returncode, result['error']['code']), (125, 'invalid_argument'))

    def test_out_of_memory_is_named(self):
        if sbx.LIMITS:
            self.skipTest('rootless: this host does not enforce memory limits')
        _, result = self.run_json('--memory', '64m', '--', 'python3', '-c', 'x = bytearray(400 << 20); print(len(x))')
        self.assertEqual(result['cause'], 'out_of_memory', result)


class Signals(Case):
    def start(self, line):
        process = subprocess.Popen([sbx.SBX, 'run', *sbx.EXTRA, '-c', line], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b'ready\n')
        below = sbx.family(process.pid)
        self.assertTrue(below, 'no helper process found: this test would prove nothing')
        return process, below

    def finish(self, process, below):
        out, err = process.communicate(timeout=20)
        self.assertEqual(sbx.survivors(below), [], 'processes of the run are still there')
        return out, err

    def test_the_first_interrupt_goes_to_the_program(self):
        process, below = self.start("trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.05; done")
        process.send_signal(signal.SIGINT)
        out, err = self.finish(process, below)
        self.assertEqual((out, process.returncode), (b'caught\n', 7), err)

    def test_the_second_interrupt_kills(self):
        process, below = self.start("trap 'echo caught' INT; echo ready; while :; do sleep 0.05; done")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.stdout.readline(), b'caught\n')
        process.send_signal(signal.SIGINT)
        _, err = self.finish(process, below)
        self.assertEqual(process.returncode, 137, err)

    def test_interrupt_of_a_plain_program_is_130(self):
        process, below = self.start('echo ready; exec sleep 60')
        process.send_signal(signal.SIGINT)
        _, err = self.finish(process, below)
        self.assertEqual(process.returncode, 130, err)

    def test_a_hangup_kills(self):
        process, below = self.start("trap '' HUP; echo ready; while :; do sleep 0.05; done")
        process.send_signal(signal.SIGHUP)
        _, err = self.finish(process, below)
        self.assertEqual(process.returncode, 137, err)

    def test_kill_9_of_sbx_leaves_nothing(self):
        process, below = self.start('echo ready; sleep 300 & sleep 300')
        process.kill()
        self.finish(process, below)


class OtherCommands(Case):
    def test_version_and_help(self):
        out = subprocess.run([sbx.SBX, 'version', '--embedded'], capture_output=True, check=True).stdout
        self.assertRegex(out, rb'^sbx version \d+\.\d+\.\d+\n$')
        out = subprocess.run([sbx.SBX, 'run', '--help'], capture_output=True, check=True).stdout
        self.assertIn(b'Examples:', out)

    def test_host(self):
        out = subprocess.run([sbx.SBX, 'host', '--json'], capture_output=True, check=True).stdout
        report = json.loads(out)
        self.assertEqual(report['backend'], 'native')
        self.assertTrue(report['enforced'])
        self.assertEqual(report['rootless'], os.geteuid() != 0)
        self.assertIn(b'enforced here', subprocess.run([sbx.SBX, 'host'], capture_output=True, check=True).stdout)


if __name__ == '__main__':
    unittest.main()
