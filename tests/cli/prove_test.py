"""sbx prove: exit codes, the shape of its JSON, reports."""
import json
import os
import stat
import unittest

import sbx
from sbx import Case


class Prove(Case):
    def test_list_names_every_check_once(self):
        done = sbx.command('prove', '--list')
        self.assertEqual(done.returncode, 0, done.stderr)
        ids = done.stdout.decode().split()
        self.assertGreaterEqual(len(ids), 50)
        self.assertEqual(len(ids), len(set(ids)))
        self.assertIn('identity.user_namespaces', ids)

    def test_passes_and_writes_a_report(self):
        path = self.path / 'proof.json'
        done = sbx.command('prove', '--only', 'identity', '--json', '--report', str(path), timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(json.loads(path.read_text()), report)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o644)
        self.assertEqual([p.name for p in self.path.iterdir()], ['proof.json'])
        self.assertEqual(report['format'], 1)
        self.assertIs(report['passed'], True)
        self.assertEqual(report['backend'], 'native')
        self.assertEqual(report['set'], 'partial')
        self.assertRegex(report['policy_sha256'], '^[0-9a-f]{64}$')
        self.assertEqual(report['kernel'], os.uname().release)
        self.assertTrue(any(line.startswith('filter sha256 ') for line in report['policy']))
        self.assertEqual(sum(report['counts'].values()), len(report['checks']))
        for check in report['checks']:
            self.assertEqual(set(check), {'id', 'status', 'tried', 'expected', 'seen', 'duration_ms', 'attempts'})
            self.assertIn(check['status'], ('passed', 'skipped'))
            for attempt in check['attempts']:
                self.assertEqual(set(attempt), {'id', 'verdict', 'detail', 'control', 'control_detail'})

    def test_failures_are_exit_code_1_and_named(self):
        done = sbx.command('prove', '--only', 'kernel.mount', '--without-sandbox', timeout=120)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b'FAIL  kernel.mount ', done.stdout)
        self.assertIn(b'mount_tmpfs: open', done.stdout)

    def test_what_could_not_run_is_exit_code_2(self):
        for arguments, words in [
            (['--backend', 'docker'], b'docker'),
            (['--only', 'no-such-check'], b'--list'),
            (['--only', 'identity.seccomp', '--report', '/no/such/directory/x'], b'/no/such/directory/x'),
            (['--no-such-option'], b'--help'),
        ]:
            done = sbx.command('prove', *arguments, timeout=120)
            self.assertEqual(done.returncode, 2, (arguments, done.stderr))
            self.assertIn(words, done.stderr, arguments)

    def test_helpers_that_are_missing_are_exit_code_2(self):
        done = sbx.command('prove', '--only', 'identity', environment={'SANDBOX_BIN_DIR': str(self.path)})
        self.assertEqual(done.returncode, 2)
        self.assertIn(b'sandbox-probe', done.stderr)


if __name__ == '__main__':
    unittest.main()
