"""sbx without a daemon: help, completion, usage errors, and what says that a daemon is missing."""
import json
import os
import pathlib
import subprocess
import unittest

import sbx
from sbx import Case, command

COMMANDS = ['create', 'ls', 'rm', 'stats', 'exec', 'attach', 'run', 'fs read', 'fs write', 'fs ls', 'fs upload', 'fs download', 'tpl save',
            'tpl ls', 'tpl rm', 'tpl prune', 'build', 'pool status', 'pool resize', 'pool flush', 'events', 'health', 'host', 'version', 'keygen',
            'completion']


class Help(Case):
    def test_every_command_has_help_with_usage(self):
        for name in COMMANDS:
            done = command(*name.split(), '--help')
            self.assertEqual((done.returncode, done.stderr), (0, b''), name)
            self.assertIn(f'Usage: sbx {name}'.encode(), done.stdout)
            self.assertIn(b'--json', done.stdout)
            if name != 'version':
                self.assertRegex(done.stdout, rb'Examples:|Instead, today:', name)

    def test_the_overview_names_every_command(self):
        for arguments in (['--help'], ['-h'], ['help']):
            done = command(*arguments)
            self.assertEqual(done.returncode, 0)
            for name in COMMANDS:
                self.assertIn(name.split()[-1].encode(), done.stdout, name)
        done = command()
        self.assertEqual((done.returncode, done.stdout), (1, b''))
        self.assertIn(b'Usage: sbx', done.stderr)

    def test_no_colour_codes_in_a_pipe(self):
        self.assertNotIn(b'\033', command('--help', environment={'TERM': 'xterm'}).stdout)


class Usage(Case):
    def test_a_wrong_word_is_2_and_says_what_would_be_right(self):
        for arguments, words in [
            (['creat'], b"did you mean 'create'?"),
            (['tpl', 'list'], b"unknown command 'tpl list'"),
            (['ls', '--lable', 'a=b'], b'did you mean --label?'),
            (['stats'], b'ID is missing'),
            (['pool', 'resize', 'default', 'many'], b'not a whole number'),
            (['create', '--cpu', '0'], b'above zero'),
            (['create', '--memory', 'lots'], b'512m'),
            (['create', '--ttl', '0'], b'sbx run'),
            (['create', '-l', 'novalue'], b'KEY=VALUE'),
            (['rm'], b'--all'),
            (['rm', '--all', 'sbx-00000000'], b'no ids'),
            (['exec', 'sbx-00000000'], b'what to run?'),
            (['attach', 'sbx-00000000'], b'terminal'),
            (['events', '--since', 'now'], b'number of an event'),
            (['completion', 'tcsh'], b'none of bash, zsh, fish'),
        ]:
            done = command(*arguments, environment={'SANDBOXD_ENDPOINT': 'unix:///nonexistent/socket'})
            self.assertEqual(done.returncode, 2, (arguments, done))
            self.assertIn(words, done.stderr, arguments)
            self.assertEqual(done.stdout, b'', arguments)

    def test_build_says_what_works_instead(self):
        done = command('build', '-t', 'x', '.')
        self.assertEqual(done.returncode, 1)
        self.assertIn(b'not built yet', done.stderr)
        self.assertIn(b'tpl save', done.stderr)


class NoDaemon(Case):
    def test_a_named_daemon_must_answer(self):
        for endpoint in ('unix:///nonexistent/socket', 'http://127.0.0.1:1'):
            for arguments in (['ls'], ['exec', 'sbx-00000000', 'true'], ['fs', 'read', 'sbx-00000000', '/x'], ['events'], ['health'],
                              ['tpl', 'ls'], ['pool', 'status'], ['version']):
                done = command(*arguments, '--endpoint', endpoint)
                self.assertEqual(done.returncode, 1, (arguments, done))
                self.assertIn(b'sandboxd', done.stderr, arguments)
                self.assertEqual(done.stdout, b'')
            done = command('run', '--endpoint', endpoint, '--', 'true')
            self.assertEqual(done.returncode, 125, done)

    def test_an_endpoint_of_another_kind_is_refused(self):
        for endpoint in ('ftp://localhost', 'localhost:7522', 'unix:', 'http://'):
            done = command('ls', '--endpoint', endpoint)
            self.assertEqual(done.returncode, 1, endpoint)
            self.assertTrue(done.stderr.startswith(b'sbx ls: '), done.stderr)

    def test_embedded_is_refused_where_it_makes_no_sense(self):
        done = command('create', '--embedded')
        self.assertEqual(done.returncode, 1)
        self.assertIn(b'needs a daemon', done.stderr)

    def test_an_error_is_json_too(self):
        done = command('ls', '--json', '--endpoint', 'unix:///nonexistent/socket')
        self.assertEqual((done.returncode, json.loads(done.stdout)['error']['code']), (1, 'unavailable'))

    def test_a_profile_is_a_daemons(self):
        done = command('run', '--embedded', '--profile', 'default', '--', 'true')
        self.assertEqual(done.returncode, 125)
        self.assertIn(b'profile', done.stderr)

    def test_half_an_identity_is_refused(self):
        done = command('ls', '--endpoint', 'unix:///nonexistent/socket', environment={'SBX_IDENTITY': 'acme'})
        self.assertEqual(done.returncode, 1)
        self.assertIn(b'SBX_KEY_FILE', done.stderr)


class Completion(Case):
    def test_scripts_are_good_shell(self):
        for shell in ('bash', 'zsh', 'fish'):
            done = command('completion', shell)
            self.assertEqual(done.returncode, 0)
            self.assertIn(b'__complete', done.stdout)
        subprocess.run(['bash', '-n'], input=command('completion', 'bash').stdout, check=True)

    def test_bash_completes_for_real(self):
        (self.path / 'some-file').write_text('')
        script = command('completion', 'bash').stdout.decode()

        def tab(*words):
            line = 'COMP_WORDS=(sbx %s); COMP_CWORD=%d; _sbx 2>/dev/null; printf "%%s\\n" "${COMPREPLY[@]}"' % (
                ' '.join(f"'{w}'" for w in words), len(words))
            environment = {**os.environ, 'PATH': f'{pathlib.Path(sbx.SBX).resolve().parent}:{os.environ["PATH"]}',
                           'SANDBOXD_ENDPOINT': 'unix:///nonexistent/socket'}
            done = subprocess.run(['bash', '-c', script + line], capture_output=True, cwd=self.path, check=True,
                                  env=environment, timeout=20)
            return done.stdout.decode().split()

        self.assertIn('create', tab(''))
        self.assertEqual(tab('fs', 'up'), ['upload'])
        self.assertEqual(tab('ls', '--wi'), ['--wide'])
        self.assertEqual(tab('completion', 'f'), ['fish'])
        self.assertEqual(tab('keygen', 'some'), ['some-file'])
        self.assertEqual(tab('exec', 'sbx-'), [])  # no daemon: nothing, and no noise


class Keys(Case):
    def test_a_key_is_made_once_and_private(self):
        path = self.path / 'acme.key'
        done = command('keygen', str(path), '--json')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(json.loads(done.stdout)['public_key']), 44)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        again = command('keygen', str(path))
        self.assertEqual(again.returncode, 1)
        self.assertIn(b'acme.key', again.stderr)

    def test_a_key_that_others_read_is_refused(self):
        path = self.path / 'key'
        command('keygen', str(path))
        os.chmod(path, 0o644)
        done = command('ls', '--endpoint', 'unix:///nonexistent/socket', environment={'SBX_IDENTITY': 'a', 'SBX_KEY_FILE': str(path)})
        self.assertIn(b'chmod 600', done.stderr)


if __name__ == '__main__':
    unittest.main()
