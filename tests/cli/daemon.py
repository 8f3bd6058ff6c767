"""A sandboxd of one's own for a test: scratch socket, scratch state, gone afterwards."""
import os
import pathlib
import signal
import subprocess
import tempfile

import sbx

SANDBOXD = os.environ.get('SANDBOXD', str(pathlib.Path(sbx.SBX).resolve().parent / 'sandboxd'))


class Daemon:
    def __init__(self, extra='', server=''):
        self.folder = tempfile.TemporaryDirectory(prefix='sbxd-')
        self.path = pathlib.Path(self.folder.name)
        self.socket = self.path / 'sock'
        self.endpoint = f'unix://{self.socket}'
        (self.path / 'config.toml').write_text(f'''
[server]
socket = "{self.socket}"
data_dir = "{self.path}/data"
{server}
[limits]
create_rate_limit = 0
max_cpu = 64.0
max_memory = "8g"
[pool]
total_warm = 2
min_base = 1
[pool.base.default]
network = "none"
memory = "128m"
storage = "64m"
[pool.base.small]
network = "none"
memory = "64m"
cpu = 0.5
storage = "32m"
[log]
format = "text"
{extra}''')
        self.log = open(self.path / 'log', 'wb')
        self.start()

    def start(self):
        self.process = subprocess.Popen([SANDBOXD, '--config', str(self.path / 'config.toml')], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        if not sbx.wait_until(lambda: self.answers() or self.process.poll() is not None, 30) or self.process.poll() is not None:
            raise AssertionError('sandboxd did not start:\n' + self.text())

    def answers(self):
        return sbx.command('health', '--endpoint', self.endpoint).returncode == 0

    def text(self):
        return (self.path / 'log').read_text(errors='replace')[-4000:]

    def end(self, number=signal.SIGTERM):
        """Ends the process; start() begins another one with the same files."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError('sandboxd did not stop:\n' + self.text()) from None

    def stop(self):
        self.end(signal.SIGINT)  # whatever is left goes with it
        self.log.close()
        self.folder.cleanup()


class DaemonCase(sbx.Case):
    """One daemon for the class; `self.sbx(…)` talks to it, `self.box()` makes a sandbox that the test's end removes."""
    extra = ''
    server = ''  # lines of [server]

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(cls.extra, cls.server)
        cls.addClassCleanup(cls.daemon.stop)

    def sbx(self, *arguments, **more):
        environment = {'SANDBOXD_ENDPOINT': self.daemon.endpoint, **more.pop('environment', {})}
        return sbx.command(*arguments, environment=environment, **more)

    def ok(self, *arguments, **more):
        done = self.sbx(*arguments, **more)
        self.assertEqual(done.returncode, 0, (arguments, done.stdout[-500:], done.stderr, self.daemon.text()))
        return done.stdout

    def box(self, *arguments):
        name = self.ok('create', *arguments).decode().strip()
        self.assertRegex(name, r'^sbx-[0-9a-f]{8}$')
        self.addCleanup(self.sbx, 'rm', name)
        return name
