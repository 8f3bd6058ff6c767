"""sbx on a daemon: every command, its output for people and programs, and its exit code."""
import base64
import io
import json
import os
import signal
import subprocess
import tarfile
import tempfile
import threading
import unittest

import sbx
from daemon import DaemonCase


class Sandboxes(DaemonCase):
    def test_a_sandbox_lives_until_it_is_removed(self):
        box = self.box('--profile', 'small', '-l', 'team=red', '--ttl', '10m')
        listed = self.ok('ls').decode().splitlines()
        self.assertEqual(listed[0].split(), ['ID', 'IMAGE', 'STATUS', 'CREATED'])
        row = next(line for line in listed if line.startswith(box))
        self.assertRegex(row, r'  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$')
        self.assertEqual(self.ok('ls', '-q', '-label', 'team=red').decode().split(), [box])
        self.assertEqual(self.ok('ls', '-q', '-l', 'team=blue'), b'')
        info = next(one for one in json.loads(self.ok('ls', '--json')) if one['id'] == box)
        self.assertEqual((info['profile'], info['ttl'], info['labels']), ('small', 600, {'team': 'red'}))
        self.assertIn(info['state'], ('running', 'disconnected'))
        self.assertIn(b'team=red', self.ok('ls', '--wide'))
        self.assertEqual(self.ok('rm', box).decode(), box + '\n')
        gone = self.sbx('rm', box)
        self.assertEqual(gone.returncode, 1)
        self.assertIn(b'not found', gone.stderr)

    def test_create_tells_everything_as_json(self):
        info = json.loads(self.ok('create', '--json', '--memory', '64m', '-cpu', '0.5'))
        self.assertEqual(info['ttl'], 3600)
        self.ok('rm', info['id'])

    def test_rm_all_removes_all(self):
        boxes = {self.box() for _ in range(3)}
        removed = set(self.ok('rm', '--all').decode().split())
        self.assertLessEqual(boxes, removed)
        self.assertEqual(json.loads(self.ok('ls', '--json')), [])
        self.assertEqual(json.loads(self.ok('rm', '--all', '--json')), {'removed': []})

    def test_unknown_names_are_told(self):
        for arguments, words in [(['create', '--profile', 'nonsense'], b'nonsense'),
                                 (['create', '--template', 'tpl-00000000'], b'tpl-00000000'),
                                 (['exec', 'sbx-00000000', 'true'], b'not found'), (['stats', 'sbx-00000000'], b'not found'),
                                 (['fs', 'read', 'sbx-00000000', '/x'], b'not found'), (['tpl', 'rm', 'tpl-00000000'], b'not found')]:
            done = self.sbx(*arguments)
            self.assertEqual(done.returncode, 1, (arguments, done))
            self.assertIn(words, done.stderr, arguments)
            self.assertEqual(done.stdout, b'')

    def test_stats(self):
        box = self.box()
        text = self.ok('stats', box).decode()
        self.assertRegex(text, r'(?m)^CPU: +\d+\.\d\d%$')
        self.assertRegex(text, r'(?m)^Memory: +\d+(\.\d)? [KM]?i?B / 128\.0 MiB \(\d+\.\d\d%\)$')
        for line in ('Network RX:', 'Network TX:', 'PIDs:', 'Uptime:'):
            self.assertIn(line, text)
        stats = json.loads(self.ok('stats', box, '--json'))
        self.assertEqual(stats['memory_limit_bytes'], 128 << 20)
        self.assertGreater(stats['pids'], 0)
        # A look does not use the sandbox up.
        self.assertEqual(self.ok('exec', box, 'echo', 'still'), b'still\n')


class Exec(DaemonCase):
    def setUp(self):
        super().setUp()
        self.name = self.box()

    def test_words_are_a_shell_line_and_after_dashes_argv(self):
        self.assertEqual(self.ok('exec', self.name, 'echo a b', '|', 'tr', 'a-z', 'A-Z'), b'A B\n')
        self.assertEqual(self.ok('exec', self.name, '--', 'printf', '%s|', '*', '$HOME', 'a b', ''), b'*|$HOME|a b||')

    def test_exit_codes(self):
        self.assertEqual(self.sbx('exec', self.name, 'exit', '42').returncode, 42)
        self.assertEqual(self.sbx('exec', self.name, 'kill -KILL $$').returncode, 137)
        done = self.sbx('exec', '--timeout', '1s', self.name, 'echo before; sleep 30')
        self.assertEqual((done.returncode, done.stdout), (124, b'before\n'))
        self.assertIn(b'timed out', done.stderr)
        self.assertEqual(self.sbx('exec', self.name, '--', 'no-such-program').returncode, 127)
        self.assertEqual(self.sbx('exec', self.name, '--', '/etc/hostname').returncode, 126)

    def test_streams(self):
        done = self.sbx('exec', self.name, 'echo out; echo err >&2')
        self.assertEqual((done.stdout, done.stderr), (b'out\n', b'err\n'))
        data = os.urandom(3 << 20)
        done = self.sbx('exec', self.name, '--', 'cat', stdin=data)
        self.assertEqual((done.returncode, done.stdout == data), (0, True), done.stderr)
        self.assertEqual(self.sbx('exec', self.name, '--', 'true', stdin=b'y' * (8 << 20)).returncode, 0)

    def test_environment_and_directory(self):
        out = self.ok('exec', '-e', 'A=b c', '-w', '/tmp', self.name, 'echo "$A|$PWD"')
        self.assertEqual(out, b'b c|/tmp\n')

    def test_output_arrives_while_it_runs(self):
        process = subprocess.Popen([sbx.SBX, 'exec', '--endpoint', self.daemon.endpoint, self.name, 'echo one; read x; echo two $x'],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b'one\n')
        rest, _ = process.communicate(b'and\n', timeout=20)
        self.assertEqual((rest, process.returncode), (b'two and\n', 0))

    def test_json(self):
        done = self.sbx('exec', '--json', self.name, 'echo out; echo err >&2; exit 3')
        result = json.loads(done.stdout)
        self.assertEqual((done.returncode, result['cause'], result['exit_code']), (3, 'exited', 3))
        self.assertEqual((result['stdout'], result['stderr']), ('out\n', 'err\n'))

    def test_the_sandbox_and_its_processes_go_on(self):
        self.ok('exec', self.name, 'echo kept > /root/kept; sleep 300 >/dev/null 2>&1 </dev/null &')
        self.assertEqual(self.ok('exec', self.name, 'cat /root/kept'), b'kept\n')
        self.assert_inside('sleep')

    def running(self, line):
        process = subprocess.Popen([sbx.SBX, 'exec', '--endpoint', self.daemon.endpoint, self.name, line], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b'ready\n')
        return process

    def programs_inside(self):
        return self.ok('exec', self.name, 'cat /proc/[0-9]*/comm').decode().split()

    def assert_inside(self, word):
        self.assertTrue(sbx.wait_until(lambda: word in self.programs_inside()), word)

    def assert_not_inside(self, word):
        self.assertTrue(sbx.wait_until(lambda: word not in self.programs_inside()), word)

    def test_ctrl_c_reaches_the_program(self):
        process = self.running("trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.05; done")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        self.assertEqual((out, process.returncode), (b'caught\n', 7), err)

    def test_a_second_ctrl_c_kills_it(self):
        process = self.running("trap '' INT; echo ready; exec sleep 1234")
        process.send_signal(signal.SIGINT)
        self.assert_inside('sleep')
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        self.assertEqual(process.returncode, 137)
        self.assert_not_inside('sleep')

    def test_a_closed_reader_ends_the_program(self):
        process = subprocess.Popen([sbx.SBX, 'exec', '--endpoint', self.daemon.endpoint, self.name, 'yes'], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.read(4), b'y\ny\n')
        process.stdout.close()
        self.assertEqual(process.wait(timeout=20), 141)
        process.stderr.close()
        self.assert_not_inside('yes')


class Files(DaemonCase):
    def setUp(self):
        super().setUp()
        self.name = self.box()

    def test_write_read_and_list(self):
        data = os.urandom(2 << 20)
        self.ok('fs', 'write', self.name, '/root/data', stdin=data)
        self.assertEqual(self.ok('fs', 'read', self.name, '/root/data'), data)
        self.ok('fs', 'write', '-p', '--mode', '755', self.name, '/root/deep/er/tool', stdin=b'#!/bin/sh\necho ran\n')
        self.ok('fs', 'write', self.name, '/root/deep/er/tool', '--append', stdin=b'echo twice\n')
        self.assertEqual(self.ok('exec', self.name, '--', '/root/deep/er/tool'), b'ran\ntwice\n')
        self.assertEqual(self.ok('fs', 'ls', self.name, '/root').decode().split(), ['data', 'deep/'])
        self.assertRegex(self.ok('fs', 'ls', '-l', self.name, '/root').decode(), r'(?m)^-rw-r--r-- +\d+ +\d+ +2097152  .*  data$')
        entries = json.loads(self.ok('fs', 'ls', self.name, '--json'))
        self.assertEqual([(e['name'], e['type']) for e in entries], [('data', 'file'), ('deep', 'directory')])
        content = json.loads(self.ok('fs', 'read', '--json', self.name, '/root/deep/er/tool'))['content']
        self.assertEqual(content, '#!/bin/sh\necho ran\necho twice\n')

    def test_an_empty_file(self):
        self.ok('fs', 'write', self.name, '/root/e', stdin=b'')
        self.assertEqual(self.ok('fs', 'read', self.name, '/root/e'), b'')

    def test_tar_in_and_out(self):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode='w') as tar:
            info = tarfile.TarInfo('sub/a')
            info.size = 5
            tar.addfile(info, io.BytesIO(b'hello'))
        self.ok('fs', 'upload', self.name, '/root/tree', stdin=buffer.getvalue())
        self.assertEqual(self.ok('exec', self.name, 'cat /root/tree/sub/a'), b'hello')
        with tarfile.open(fileobj=io.BytesIO(self.ok('fs', 'download', self.name, '/root/tree'))) as tar:
            member = next(m for m in tar.getmembers() if m.name.endswith('sub/a'))
            self.assertEqual(tar.extractfile(member).read(), b'hello')

    def test_paths_of_this_host(self):
        (self.path / 'dir/sub').mkdir(parents=True)
        (self.path / 'dir/sub/f').write_text('f')
        (self.path / 'one').write_bytes(b'1' * 300_000)
        self.ok('fs', 'upload', self.name, str(self.path / 'dir'), '/root/dir')
        self.ok('fs', 'upload', self.name, str(self.path / 'one'), '/root/')
        self.ok('fs', 'download', self.name, '/root/dir', str(self.path / 'back'))
        self.ok('fs', 'download', self.name, '/root/one', str(self.path / 'back') + '/')
        self.assertEqual((self.path / 'back/sub/f').read_text(), 'f')
        self.assertEqual((self.path / 'back/one').read_bytes(), b'1' * 300_000)

    def test_what_is_not_there_is_1(self):
        for arguments in (['fs', 'read', self.name, '/root/no'], ['fs', 'ls', self.name, '/root/no'],
                          ['fs', 'download', self.name, '/root/no'],
                          ['fs', 'write', self.name, '/root/no/x'], ['fs', 'upload', self.name, '/no/such', '/root/x']):
            done = self.sbx(*arguments)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn(b'no', done.stderr)

    def test_a_closed_reader_ends_a_read(self):
        self.ok('exec', self.name, 'head -c 30000000 /dev/zero > /root/big')
        process = subprocess.Popen([sbx.SBX, 'fs', 'read', '--endpoint', self.daemon.endpoint, self.name, '/root/big'],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(10)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=20), 141)
        process.stderr.close()


class TemplatesAndPools(DaemonCase):
    def test_a_template_is_saved_used_and_removed(self):
        box = self.box()
        self.ok('exec', box, 'echo kept > /root/kept')
        template = self.ok('tpl', 'save', box, '--label', 'mine').decode().strip()
        self.assertRegex(template, r'^tpl-[0-9a-f]+$')
        lines = self.ok('tpl', 'ls').decode().splitlines()
        self.assertEqual(lines[0].split(), ['ID', 'LABEL', 'IMAGE'])
        self.assertEqual(lines[1].split()[:2], [template, 'mine'])
        other = self.box('--template', template)
        self.assertEqual(self.ok('exec', other, 'cat /root/kept'), b'kept\n')
        self.ok('rm', other)
        self.assertEqual(self.ok('tpl', 'rm', template).decode(), template + '\n')
        self.assertEqual(self.sbx('tpl', 'rm', template).returncode, 1)
        self.assertEqual(json.loads(self.ok('tpl', 'ls', '--json')), [])

    def test_pools(self):
        pools = {one['profile']: one for one in json.loads(self.ok('pool', 'status'))}
        self.assertEqual(set(pools), {'default', 'small'})
        self.assertEqual(self.ok('pool', 'resize', 'small', '2'), b'ok\n')
        pools = {one['profile']: one for one in json.loads(self.ok('pool', 'status', '--json'))}
        self.assertEqual(pools['small']['ready'], 2)
        self.assertEqual(json.loads(self.ok('pool', 'flush', 'small', '--json')), {'status': 'ok'})
        self.assertEqual(self.sbx('pool', 'resize', 'nonsense', '1').returncode, 1)


class Daemonwide(DaemonCase):
    def test_health_and_version(self):
        health = json.loads(self.ok('health'))
        self.assertEqual(health['status'], 'ok')
        self.assertIn(b'\n', self.ok('health').strip())
        self.assertNotIn(b'\n', self.ok('health', '--json').strip())
        lines = self.ok('version').decode().splitlines()
        self.assertRegex(lines[0], r'^sbx version \d')
        self.assertRegex(lines[1], r'^sandboxd version \d')
        self.assertEqual(lines[2], 'status: ok')
        self.assertEqual(json.loads(self.ok('version', '--json'))['endpoint'], self.daemon.endpoint)

    def test_past_events(self):
        box = self.box()
        self.ok('rm', box)
        seen = []
        sbx.wait_until(lambda: seen.clear() or seen.extend(
            json.loads(line) for line in self.ok('events', '--past', '--since', '0', '--json', '--sandbox', box).splitlines())
            or len(seen) >= 2, 10)
        types = [event['type'] for event in seen]
        self.assertEqual((types[0], types[-1]), ('sandbox.created', 'sandbox.destroyed'))
        text = self.ok('events', '--past', '--since', '0').decode()
        self.assertRegex(text, r'(?m)#\d+  sandbox\.created  ' + box)
        last = seen[-1]['id']
        self.assertNotIn(box.encode(), self.ok('events', '--past', '--since', str(last)))

    def test_events_as_they_happen_until_ctrl_c(self):
        before = self.box()
        process = subprocess.Popen([sbx.SBX, 'events', '--json', '--since', '0', '--endpoint', self.daemon.endpoint],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        # Whatever fails here, the reader below sees the end instead of waiting for ever.
        killer = threading.Timer(40, process.kill)
        killer.start()
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(killer.cancel)

        def next_of(box, kind):
            for line in process.stdout:
                event = json.loads(line)
                if (event['sandbox_id'], event['type']) == (box, kind):
                    return
            self.fail(f'{kind} of {box} did not come')

        next_of(before, 'sandbox.created')  # there before anybody asked
        box = self.box()
        next_of(box, 'sandbox.created')
        self.ok('rm', box)
        next_of(box, 'sandbox.destroyed')
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        self.assertEqual((process.returncode, err), (130, b''))

    def test_run_uses_the_daemon_and_leaves_nothing(self):
        done = self.sbx('run', '--json', '--memory', '64m', '--', 'sh', '-c', 'echo hi; exit 4')
        result = json.loads(done.stdout)
        self.assertEqual((done.returncode, result['stdout'], result['endpoint']), (4, 'hi\n', self.daemon.endpoint), done.stderr)
        self.assertTrue(sbx.wait_until(lambda: json.loads(self.ok('ls', '--json')) == []))
        done = self.sbx('run', '--embedded', *sbx.LIMITS, '--json', '--', 'true')
        self.assertIsNone(json.loads(done.stdout)['endpoint'])

    def test_run_is_as_locked_down_there_as_here(self):
        out = self.ok('run', '--', 'sh', '-c', 'tail -n +3 /proc/net/dev | cut -d: -f1; touch /usr/x 2>/dev/null && echo bad; true')
        self.assertEqual(out.split(), [b'lo'])

    def test_a_host_path_is_refused_by_the_daemon(self):
        done = self.sbx('run', '--image', str(self.path), '--', 'true')
        self.assertEqual(done.returncode, 125)
        self.assertIn(b'--embedded', done.stderr)

    def test_completion_offers_ids(self):
        box = self.box()
        out = self.ok('__complete', '--', 'exec', 'sbx-').decode()
        self.assertIn(box, out)
        self.assertIn('small', self.ok('__complete', '--', 'create', '--profile', '').decode())


class KeepsOnStop(DaemonCase):
    server = 'keep_sandboxes_on_stop = true'

    def test_sigterm_leaves_them_and_sigint_does_not(self):
        box = self.box()
        self.ok('exec', box, 'echo kept > /root/kept')
        self.daemon.end(signal.SIGTERM)
        self.daemon.start()
        self.assertEqual(self.ok('exec', box, 'cat /root/kept'), b'kept\n')
        self.daemon.end(signal.SIGINT)
        self.daemon.start()
        self.assertEqual(json.loads(self.ok('ls', '--json')), [])


class Tenants(DaemonCase):
    """Signed requests: who has no key sees nothing, and tenants do not see each other."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix='sbx-keys-')
        cls.addClassCleanup(folder.cleanup)
        cls.key = os.path.join(folder.name, 'key')
        public = sbx.command('keygen', cls.key).stdout.decode().strip()
        cls.pem = os.path.join(folder.name, 'pem')
        subprocess.run(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', cls.pem], check=True, capture_output=True)
        os.chmod(cls.pem, 0o600)
        der = subprocess.run(['openssl', 'pkey', '-in', cls.pem, '-pubout', '-outform', 'DER'], check=True, capture_output=True).stdout
        cls.extra = f'[multi_tenant]\nenabled = true\npublic_keys = ["{public}", "{base64.b64encode(der[-32:]).decode()}"]\n'
        super().setUpClass()

    def tenant(self, name, key):
        return {'SBX_IDENTITY': name, 'SBX_KEY_FILE': key}

    def test_tenants_are_apart(self):
        a, b = self.tenant('a', self.key), self.tenant('b', self.pem)
        box = self.ok('create', environment=a).decode().strip()
        self.assertEqual(self.ok('exec', box, 'echo hi', environment=a), b'hi\n')
        self.assertEqual(self.ok('ls', '-q', environment=b), b'')
        self.assertEqual(self.sbx('exec', box, 'true', environment=b).returncode, 1)
        self.assertEqual(self.sbx('rm', box, environment=b).returncode, 1)
        self.ok('rm', box, environment=a)
        done = self.sbx('ls')
        self.assertEqual(done.returncode, 1)
        self.assertIn(b'SBX_IDENTITY', done.stderr)


if __name__ == '__main__':
    unittest.main()
